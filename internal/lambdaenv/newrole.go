package lambdaenv

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
)

// What a role may do gets around in seconds, and is refused until then; a role that lacks a right is refused for ever. A call is repeated
// for about a minute: newRoleAttempts times with newRolePause at most between two.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
const (
	newRoleAttempts = 15
	newRolePause    = 8 * time.Second
)

// notYet are the errors by which services say that the caller may not: S3's, SNS's, and everybody else's.
var notYet = []string{"AccessDenied", "AuthorizationError", "AccessDeniedException"}

// NewRole is the configuration for functions that a deployment invokes as soon as they are there, or right after it changed what they
// may do: their clients repeat what is refused for lack of rights. Such a function needs a time-out of more than a minute.
func NewRole(cfg aws.Config) aws.Config {
	base := cfg.Retryer
	if base == nil {
		base = func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = newRolePause })
		}
	}
	cfg.RetryMaxAttempts = newRoleAttempts
	cfg.Retryer = func() aws.Retryer {
		return retry.AddWithErrorCodes(retry.AddWithMaxAttempts(base(), newRoleAttempts), notYet...)
	}
	return cfg
}
