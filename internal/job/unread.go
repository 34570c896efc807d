package job

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Unread is what of a day's folder in the landing bucket cannot be read, because of its name. The zero value: nothing.
type Unread struct {
	ID   string // ID stands for exactly these objects, by their keys.
	Text string // Text names the first of them, each with the reason, and how many there are.
}

// IsFolder reports whether an object only stands for a folder, as consoles make them: its key ends with a slash, and it has no content.
func (f File) IsFolder() bool { return strings.HasSuffix(f.Key, "/") && f.Bytes == 0 }

// DayOf is the day in whose folder an object is, whatever the rest of its key. It reports false for a key that is in no day's folder.
func DayOf(key string) (ID, bool) {
	parts := strings.SplitN(key, "/", 3)
	if len(parts) < 3 || !validFeed(parts[0]) {
		return ID{}, false
	}
	day, err := ParseDay(parts[1])
	if err != nil {
		return ID{}, false
	}
	return ID{parts[0], day}, true
}

const (
	unreadNamed = 3    // unreadNamed is how many objects are named.
	unreadRunes = 1000 // unreadRunes is how long a text may be: it is kept on the job, and is its reason.
)

// UnreadOf is what of the objects in a day's folder a run would leave out without anybody having said so. An object without content leaves
// nothing out: folders of consoles, and the empty flags that writers leave behind, like _SUCCESS.
func UnreadOf(objects []File) Unread {
	why := map[string]string{}
	for _, f := range objects {
		if _, _, err := ParseKey(f.Key); err != nil && f.Bytes > 0 {
			why[f.Key] = err.Error()
		}
	}
	if len(why) == 0 {
		return Unread{}
	}
	keys := make([]string, 0, len(why))
	for key := range why {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	hash := sha256.Sum256([]byte(strings.Join(keys, "\n")))
	var named []string
	for _, key := range keys[:min(len(keys), unreadNamed)] {
		named = append(named, fmt.Sprintf("%q: %s", key, why[key]))
	}
	if more := len(keys) - unreadNamed; more > 0 {
		named = append(named, fmt.Sprintf("and %d more", more))
	}
	text := []rune(fmt.Sprintf("%d %s of the day cannot be read: %s", len(keys), plural(len(keys), "object", "objects"), strings.Join(named, "; ")))
	if len(text) > unreadRunes {
		text = append(text[:unreadRunes-1], '…')
	}
	return Unread{hex.EncodeToString(hash[:8]), string(text)}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// LacksFiles reports whether objects of the job's day cannot be read and nobody decided to go on without them. What has begun to publish is
// finished all the same.
func (j Job) LacksFiles() bool {
	return j.Unread.ID != "" && j.Unread.ID != j.Waived && j.Commit.State != Committing
}

// UnreadNext says what ends the wait of a day for objects that cannot be read.
const UnreadNext = "delete the object, or put the file under a good name and delete this one: the day goes on by itself; sluice release --reason goes on without it"
