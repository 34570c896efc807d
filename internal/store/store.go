// Package store reads and writes the objects that functions work with: what landed, orders, results, manifests.
package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sluice-data/sluice/internal/job"
)

// ErrNotFound is the answer for an object that is not there.
var ErrNotFound = errors.New("no such object")

// Bucket is one S3 bucket.
type Bucket struct {
	s3   *s3.Client
	name string
}

// NewBucket opens a bucket. It does not touch the network.
func NewBucket(client *s3.Client, name string) Bucket { return Bucket{client, name} }

// Name is the bucket's name.
func (b Bucket) Name() string { return b.name }

// URI names an object of the bucket.
func (b Bucket) URI(key string) string { return "s3://" + b.name + "/" + key }

// List returns the current objects whose key begins with prefix and sorts after the given one, as files without a job.
func (b Bucket) List(ctx context.Context, prefix, after string) ([]job.File, error) {
	var all []job.File
	for {
		files, next, err := b.Page(ctx, prefix, after)
		if err != nil {
			return nil, err
		}
		all = append(all, files...)
		if next == "" {
			return all, nil
		}
		after = next
	}
}

// Page returns the first of the objects that List returns, a thousand at most, and the key after which to go on; "" when there are no more.
func (b Bucket) Page(ctx context.Context, prefix, after string) ([]job.File, string, error) {
	// Versions are listed rather than objects because only they have their ids. Of one key the latest comes first, so that a page that ends
	// in the midst of a key's versions lacks nothing.
	// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
	in := &s3.ListObjectVersionsInput{Bucket: &b.name, Prefix: &prefix}
	if after != "" {
		in.KeyMarker = &after
	}
	page, err := b.s3.ListObjectVersions(ctx, in)
	if err != nil {
		return nil, "", fmt.Errorf("list s3://%s/%s: %w", b.name, prefix, err)
	}
	var files []job.File
	for _, v := range page.Versions {
		if !aws.ToBool(v.IsLatest) || aws.ToString(v.Key) <= after {
			continue
		}
		files = append(files, job.File{
			Bucket: b.name, Key: aws.ToString(v.Key), Bytes: aws.ToInt64(v.Size), ETag: strings.Trim(aws.ToString(v.ETag), `"`),
			VersionID: aws.ToString(v.VersionId), LandedAt: aws.ToTime(v.LastModified).Truncate(time.Second), // as AWS has it
		})
	}
	if !aws.ToBool(page.IsTruncated) {
		return files, "", nil
	}
	return files, aws.ToString(page.NextKeyMarker), nil
}

// Read opens an object. It returns ErrNotFound when there is none.
func (b Bucket) Read(ctx context.Context, key string) (body io.ReadCloser, bytes int64, err error) {
	got, err := b.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: &key})
	if missing := (*types.NoSuchKey)(nil); errors.As(err, &missing) {
		err = ErrNotFound
	}
	if err != nil {
		return nil, 0, fmt.Errorf("s3://%s/%s: %w", b.name, key, err)
	}
	return got.Body, aws.ToInt64(got.ContentLength), nil
}

// ReadAll reads an object whole.
func (b Bucket) ReadAll(ctx context.Context, key string) (text []byte, err error) {
	body, _, err := b.Read(ctx, key)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	text, err = io.ReadAll(body)
	if err != nil {
		return nil, fmt.Errorf("s3://%s/%s: %w", b.name, key, err)
	}
	return text, nil
}

// ReadJSON decodes a JSON object into out.
func (b Bucket) ReadJSON(ctx context.Context, key string, out any) error {
	text, err := b.ReadAll(ctx, key)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("s3://%s/%s: %w", b.name, key, err)
	}
	return nil
}

// WriteJSON writes a document as JSON.
func (b Bucket) WriteJSON(ctx context.Context, key string, document any) error {
	text, err := json.MarshalIndent(document, "", " ")
	if err != nil {
		return fmt.Errorf("s3://%s/%s: %w", b.name, key, err)
	}
	_, err = b.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.name, Key: &key, Body: bytes.NewReader(text), ContentType: aws.String("application/json")})
	if err != nil {
		return fmt.Errorf("s3://%s/%s: %w", b.name, key, err)
	}
	return nil
}

// Anywhere reads objects of any bucket by their URI.
type Anywhere struct{ s3 *s3.Client }

// NewAnywhere makes a reader of objects. It does not touch the network.
func NewAnywhere(client *s3.Client) Anywhere { return Anywhere{client} }

// Read opens the object that "s3://bucket/key" names.
func (a Anywhere) Read(ctx context.Context, uri string) (body io.ReadCloser, bytes int64, err error) {
	bucket, key, err := splitURI(uri)
	if err != nil {
		return nil, 0, err
	}
	return NewBucket(a.s3, bucket).Read(ctx, key)
}

// ReadJSON decodes the JSON object that "s3://bucket/key" names into out.
func (a Anywhere) ReadJSON(ctx context.Context, uri string, out any) error {
	bucket, key, err := splitURI(uri)
	if err != nil {
		return err
	}
	return NewBucket(a.s3, bucket).ReadJSON(ctx, key, out)
}

func splitURI(uri string) (bucket, key string, err error) {
	bucket, key, ok := strings.Cut(strings.TrimPrefix(uri, "s3://"), "/")
	if !ok || !strings.HasPrefix(uri, "s3://") || bucket == "" || key == "" {
		return "", "", fmt.Errorf("%q is not of the form s3://bucket/key", uri)
	}
	return bucket, key, nil
}
