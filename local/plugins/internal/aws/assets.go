package aws

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/archive"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/asset"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
)

// contentHashes are the properties by which the Terraform provider learns that the content behind a path changed.
var contentHashes = map[string]resource.PropertyKey{
	"aws:lambda/function:Function":         "sourceCodeHash",
	"aws:lambda/layerVersion:LayerVersion": "sourceCodeHash",
	"aws:s3/bucketObjectv2:BucketObjectv2": "sourceHash",
}

// The Terraform provider wants files where Pulumi has assets. assetFolder holds them, each under a name made of
// its content, so that equal content is an equal path.
type assetFolder string

// newAssetFolder makes a folder beside the engine's own files.
func newAssetFolder() (assetFolder, error) {
	dir, err := workspace.GetPulumiPath("assets")
	if err != nil {
		return "", fmt.Errorf("folder for assets: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("folder for assets: %w", err)
	}
	return assetFolder(dir), nil
}

// replace puts paths in place of the assets among the properties of a resource, and returns what it replaced.
// The files exist afterwards if the assets have their content, which they lack in recorded state.
func (dir assetFolder) replace(urn resource.URN, properties resource.PropertyMap) (resource.PropertyMap, error) {
	hashKey, ok := contentHashes[string(urn.Type())]
	if !ok {
		return nil, nil
	}
	replaced := resource.PropertyMap{}
	for key, value := range properties {
		plain := withoutSecret(value)
		var path, hash string
		var err error
		switch {
		case plain.IsArchive():
			path, err = dir.storeArchive(plain.ArchiveValue())
			hash = plain.ArchiveValue().Hash
		case plain.IsAsset():
			path, err = dir.storeAsset(plain.AssetValue())
			hash = plain.AssetValue().Hash
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("property %s: %w", key, err)
		}
		replaced[key] = value
		properties[key] = resource.NewStringProperty(path)
		if !properties.HasValue(hashKey) {
			properties[hashKey] = resource.NewStringProperty(hash)
		}
	}
	return replaced, nil
}

func (dir assetFolder) storeArchive(a *archive.Archive) (string, error) {
	return dir.store(a.Hash+".zip", a.HasContents(), func() ([]byte, error) { return a.Bytes(archive.ZIPArchive) })
}

func (dir assetFolder) storeAsset(a *asset.Asset) (string, error) {
	return dir.store(a.Hash, a.HasContents(), a.Bytes)
}

func (dir assetFolder) store(name string, hasContent bool, content func() ([]byte, error)) (string, error) {
	path := filepath.Join(string(dir), name)
	if _, err := os.Stat(path); err == nil || !hasContent {
		return path, nil
	} else if !os.IsNotExist(err) {
		return "", err
	}
	data, err := content()
	if err != nil {
		return "", err
	}
	// Under its name only when whole: several resources may share the content.
	unfinished, err := os.CreateTemp(string(dir), name+".*")
	if err != nil {
		return "", err
	}
	defer os.Remove(unfinished.Name())
	if _, err := unfinished.Write(data); err != nil {
		return "", errors.Join(err, unfinished.Close())
	}
	if err := unfinished.Close(); err != nil {
		return "", err
	}
	return path, os.Rename(unfinished.Name(), path)
}

// restore puts the assets back where their paths are among the properties.
func restore(replaced, properties resource.PropertyMap) {
	for key, value := range replaced {
		if _, ok := properties[key]; ok {
			properties[key] = value
		}
	}
}

func withoutSecret(v resource.PropertyValue) resource.PropertyValue {
	for v.IsSecret() || v.IsOutput() && v.OutputValue().Known {
		if v.IsSecret() {
			v = v.SecretValue().Element
		} else {
			v = v.OutputValue().Element
		}
	}
	return v
}
