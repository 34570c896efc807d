package seal

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/aws/amazon-s3-encryption-client-go/v3/client"
	"github.com/aws/amazon-s3-encryption-client-go/v3/materials"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// golden is an object as the client makes it, which the jobs' tests open, too.
const golden = "../../jobs/records/tests/data/sealed.json"

var update = flag.Bool("update", false, "write "+golden+" anew")

// object is what S3 keeps, and what KMS was asked for its data key.
type object struct {
	Key      string            `json:"key"`
	Text     string            `json:"text"`    // Text is the file.
	DataKey  string            `json:"dataKey"` // DataKey is what KMS gives for the wrapped one, in base64.
	Body     string            `json:"body"`    // Body is what is stored, in base64.
	Metadata map[string]string `json:"metadata"`
}

// cloud stands for S3 with one object, and for KMS with one data key. Denied makes KMS refuse to decrypt.
type cloud struct {
	object  object
	context map[string]string // context is the encryption context of the last call to KMS.
	denied  bool
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	switch action := r.Header.Get("X-Amz-Target"); {
	case strings.HasPrefix(action, "TrentService."):
		var in struct{ EncryptionContext map[string]string }
		_ = json.Unmarshal(body, &in)
		c.context = in.EncryptionContext
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if c.denied {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"AccessDeniedException","message":"not authorized to perform: kms:Decrypt"}`)
			return
		}
		out := map[string]string{"KeyId": "key", "Plaintext": c.object.DataKey}
		if action == "TrentService.GenerateDataKey" {
			out["CiphertextBlob"] = base64.StdEncoding.EncodeToString([]byte("wrapped"))
		}
		_ = json.NewEncoder(w).Encode(out)
	case r.Method == http.MethodPut:
		c.object.Body = base64.StdEncoding.EncodeToString(body)
		c.object.Metadata = map[string]string{}
		for name := range r.Header {
			if meta, ok := strings.CutPrefix(strings.ToLower(name), "x-amz-meta-"); ok {
				c.object.Metadata[meta] = r.Header.Get(name)
			}
		}
	default:
		for name, value := range c.object.Metadata {
			w.Header().Set("X-Amz-Meta-"+name, value)
		}
		stored, _ := base64.StdEncoding.DecodeString(c.object.Body)
		_, _ = w.Write(stored)
	}
}

// clients are an S3 and a KMS that talk to the cloud.
func (c *cloud) clients(t *testing.T) (*s3.Client, *kms.Client) {
	server := httptest.NewTLSServer(c)
	t.Cleanup(server.Close)
	cfg := aws.Config{Region: "eu-west-1", BaseEndpoint: aws.String(server.URL), HTTPClient: server.Client(), Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}
	// With a checksum in a header, the stand-in gets the body as it is stored.
	return s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle, o.RequestChecksumCalculation, o.ResponseChecksumValidation = true, aws.RequestChecksumCalculationWhenRequired, aws.ResponseChecksumValidationWhenRequired
	}), kms.NewFromConfig(cfg)
}

func newCloud() *cloud {
	return &cloud{object: object{Key: "parcels/2013-01-01/a.csv", Text: "a,b\n1,2\n", DataKey: base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 32))}}
}

func TestSealedFileLeavesNothingReadable(t *testing.T) {
	c := newCloud()
	objects, keys := c.clients(t)
	if err := New(objects, keys).Put(t.Context(), "landing", c.object.Key, "arn:key", strings.NewReader(c.object.Text)); err != nil {
		t.Fatal(err)
	}
	stored, _ := base64.StdEncoding.DecodeString(c.object.Body)
	if bytes.Contains(stored, []byte("1,2")) || len(stored) != len(c.object.Text)+16 {
		t.Errorf("stored %d bytes: %q", len(stored), stored)
	}
	if c.context["sluice:object"] != c.object.Key || c.object.Metadata["x-amz-cek-alg"] != "AES/GCM/NoPadding" || c.object.Metadata["x-amz-wrap-alg"] != "kms+context" {
		t.Errorf("bound to %v, metadata %v", c.context, c.object.Metadata)
	}
	if *update {
		text, err := json.MarshalIndent(c.object, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOfficialClientOpensTheObjectThatJobsAreTestedWith(t *testing.T) {
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{}
	if err := json.Unmarshal(text, &c.object); err != nil {
		t.Fatal(err)
	}
	got, err := open(t, c)
	if err != nil || got != c.object.Text {
		t.Fatalf("%q: %v", got, err)
	}
	c.denied = true
	if got, err := open(t, c); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("without the right to decrypt: %q, %v", got, err)
	}
}

func open(t *testing.T, c *cloud) (string, error) {
	t.Helper()
	objects, keys := c.clients(t)
	manager, err := materials.NewCryptographicMaterialsManager(materials.NewKmsKeyring(keys, "key"))
	if err != nil {
		t.Fatal(err)
	}
	opening, err := client.New(objects, manager)
	if err != nil {
		t.Fatal(err)
	}
	//lint:ignore SA1029 the client looks for it by this key
	bound := context.WithValue(t.Context(), client.EncryptionContext, map[string]string{"sluice:object": c.object.Key})
	out, err := opening.GetObject(bound, &s3.GetObjectInput{Bucket: aws.String("landing"), Key: aws.String(c.object.Key)})
	if err != nil {
		return "", err
	}
	opened, err := io.ReadAll(out.Body)
	return string(opened), err
}
