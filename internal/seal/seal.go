// Package seal encrypts files before they leave their sender, with the official S3 encryption client and a data key of the country's key.
//
// An object says itself, in its metadata, what opens it; only who may decrypt with the country's key can. The jobs open it
// (jobs/records/sealed.py), so both sides keep to the client's format: AES-256-GCM, the wrapped data key beside the object.
package seal

import (
	"context"
	"fmt"
	"io"
	"log"

	"github.com/aws/amazon-s3-encryption-client-go/v3/client"
	"github.com/aws/amazon-s3-encryption-client-go/v3/materials"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sluice-data/sluice/policies"
)

// MaxBytes is how large a sealed file can be. It is opened as a whole: what was changed on its way must be found out before any of it is
// used.
const MaxBytes = 256 << 20

// Sealer puts encrypted objects.
type Sealer struct {
	s3  *s3.Client
	kms *kms.Client
}

// New makes a Sealer. It does not touch the network.
func New(objects *s3.Client, keys *kms.Client) Sealer { return Sealer{objects, keys} }

// Put encrypts a file under a data key of the key keyARN, and puts it. The data key is bound to the object's key: the same bytes under
// another key do not open. The body must be at its beginning, and may be read twice.
func (s Sealer) Put(ctx context.Context, bucket, key, keyARN string, body io.ReadSeeker) error {
	ring := materials.NewKmsKeyring(s.kms, keyARN, func(o *materials.KeyringOptions) { o.EnableLegacyWrappingAlgorithms = false })
	manager, err := materials.NewCryptographicMaterialsManager(ring)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	sealing, err := client.New(s.s3, manager, func(o *client.EncryptionClientOptions) { o.Logger = log.New(io.Discard, "", 0) })
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	//lint:ignore SA1029 the client looks for it by this key
	bound := context.WithValue(ctx, client.EncryptionContext, map[string]string{policies.SealedObject: key})
	if _, err := sealing.PutObject(bound, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(key), Body: body}); err != nil {
		return fmt.Errorf("seal s3://%s/%s: %w", bucket, key, err)
	}
	return nil
}
