"""Plants bugs in the rules and their adapters, one at a time, and sees whether the tests catch each of them.

Works on a copy of the module, so that the checkout stays as it is. Prints a line a bug and, at last, "N planted, M caught"; exits with 1
unless all are caught. When a bug cannot be planted any more because the code has changed, none is.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What is planted: a file, the text that is there once, what is put in its place, and the bug in words.
BUGS = [
    (
        "job/plan.go",
        "free := max(b.Parallel-len(b.Slots), 0)",
        "free := max(b.Parallel-len(b.Slots)+1, 0)",
        "one slot too many",
    ),
    ("job/plan.go", "cmp.Compare(b.path, a.path))", "cmp.Compare(a.path, b.path))", "shortest path first"),
    ("job/plan.go", "if leased[j.Feed] {", "if false {", "two days of a feed start together"),
    (
        "job/plan.go",
        "case other != nil && other.Done():",
        "case other != nil:",
        "a prerequisite need not have succeeded",
    ),
    ("job/job.go", "return j.Revision <= 1 && j.Day < last", "return false", "an earlier day is not held"),
    ("job/plan.go", "if p.Now.Before(j.RetryAt) {", "if false {", "no back-off between attempts"),
    ("job/plan.go", "\t\tj.before = ahead\n", "", "days out of order"),
    ("job/plan.go", "if day > j.Day || j.Retract {", "if false {", "the lease is ignored"),
    (
        "job/plan.go",
        "e.lane.jobs[k].before == e; k++ {",
        "e.lane.jobs[k].before == e && false; k++ {",
        "what a decision changes is not judged again",
    ),
    ("job/end.go", "case used < f.attempts():", "case used <= f.attempts():", "one attempt too many"),
    ("job/end.go", 'case j.Cancel != "" && !publishing:', 'case j.Cancel != "":', "cancels what began to publish"),
    ("job/end.go", "n.Quiet = used > 1", "n.Quiet = false", "an alert for every attempt"),
    ("job/act.go", "\t\tj.Revision++\n\tcase Retract:", "\tcase Retract:", "a restatement without a new revision"),
    (
        "job/act.go",
        "\tcase Cancel:\n\t\tswitch {\n\t\tcase publishing:\n",
        "\tcase Cancel:\n\t\tswitch {\n\t\tcase publishing && false:\n",
        "cancel is allowed while publishing",
    ),
    (
        "job/act.go",
        "case j.State == Running && j.Published():",
        "case false:",
        "a run that has published is said to publish nothing",
    ),
    (
        "ledger/writes.go",
        " AND commitToken = :committer)",
        " AND (commitToken = :committer OR commitToken <> :committer))",
        "cancel overlooks a restatement that published meanwhile",
    ),
    (
        "driver/operate.go",
        "return p.Topics.Announce(ctx, job.NoticeCancel, j.ID, j.Token)",
        "return nil",
        "nobody is woken to end a cancelled run",
    ),
    (
        "ledger/ledger.go",
        "\t\tif err := write(); attempt == conflictRetries || !isConflict(err) {",
        "\t\tif err := write(); true {",
        "a write that meets a transaction fails",
    ),
    ("job/unread.go", "err != nil && f.Bytes > 0 {", "false {", "a day closes without the files that were rejected"),
    (
        "job/unread.go",
        'return j.Unread.ID != "" && j.Unread.ID != j.Waived &&',
        'return j.Unread.ID != "" && j.Waived == "" &&',
        "who went on without one file goes on without every other",
    ),
    (
        "job/unread.go",
        " && j.Commit.State != Committing\n",
        "\n",
        "what began to publish waits for a file",
    ),
    (
        "ledger/writes.go",
        " AND (attribute_not_exists(unreadId) OR unreadId = waived OR commitState = :committing)",
        " AND (attribute_not_exists(unreadId) OR attribute_exists(unreadId) OR commitState = :committing)",
        "a run starts although a file of its day was rejected meanwhile",
    ),
    (
        "driver/intake.go",
        'if name != "" || err != nil && id != (job.ID{}) {',
        'if name != "" {',
        "a rejected file does not reach its day",
    ),
    (
        "driver/intake.go",
        "saved, err := i.unread(ctx, j, unread)",
        "saved, err := i.unread(ctx, j, j.Unread)",
        "a job does not hear of files that are rejected, or gone, later",
    ),
    ("job/feed.go", "return count >= f.ExpectedFiles", "return count > f.ExpectedFiles", "one file more than expected"),
    ("job/feed.go", "return marked\n", "return marked || true\n", "complete without its marker"),
    ("job/key.go", "end = end.Add(time.Hour)", "end = end.Add(0)", "midnight that a clock change skips"),
    ("job/key.go", "if len(parts) != 3 {", "if len(parts) < 3 {", "keys with further folders"),
    (
        "ledger/writes.go",
        "size(jobs) < :parallel AND NOT",
        "(size(jobs) < :parallel OR size(jobs) >= :parallel) AND NOT",
        "the ledger does not count slots",
    ),
    (
        "ledger/writes.go",
        'condition: "attribute_not_exists(lease)"',
        'condition: "attribute_not_exists(lease) OR attribute_exists(lease)"',
        "the ledger does not know the lease",
    ),
    (
        "ledger/writes.go",
        'condition: "attribute_not_exists(feed)",\n\t\tvalues: item{\n\t\t\t":waiting"',
        'condition: "attribute_not_exists(feed) OR attribute_exists(feed)",\n\t\tvalues: item{\n\t\t\t":waiting"',
        "creating twice starts anew",
    ),
    (
        "ledger/writes.go",
        'str(slotsItem)}, update: "DELETE jobs :set", values: item{":set": set(r.ID.String())},\n\t}\n',
        'str(slotsItem)}, update: "DELETE other :set", values: item{":set": set(r.ID.String())},\n\t}\n',
        "a slot is never given back",
    ),
    ("ledger/writes.go", '"REMOVE lease"', '"SET other = :run"', "a lease is never given back"),
    (
        "ledger/writes.go",
        " AND revision = :was AND (attribute_not_exists(acts) OR size(acts) = :acts)",
        " AND (revision = :was OR revision <> :was) AND (attribute_not_exists(acts) OR size(acts) = :acts OR size(acts) <> :acts)",
        "acts overtake each other",
    ),
    (
        "ledger/writes.go",
        'c.condition = "tries = :known"',
        'c.condition = "tries = :known OR tries <> :known"',
        "everybody tells a notice",
    ),
    (
        "ledger/reads.go",
        "for _, id := range open {",
        "for _, id := range open[:0] {",
        "restated days are not on the board",
    ),
    (
        "ledger/reads.go",
        "for _, id := range slices.Concat(b.Slots, left) {",
        "for _, id := range slices.Concat(b.Slots, left[:0]) {",
        "an open job of an older release is forgotten until it is moved",
    ),
    (
        "ledger/migrate.go",
        "changes = append(changes, l.opened(id))",
        "_ = id",
        "an open job of an older release is forgotten when it is moved",
    ),
    (
        "driver/start.go",
        'if err == nil && status.State == engine.Active && j.Cancel != "" {',
        "if false {",
        "a cancelled run is never ended",
    ),
    (
        "driver/start.go",
        "isOff := off[r.Engine]; isOff {",
        "isOff := off[r.Engine]; isOff && false {",
        "what was switched off begins",
    ),
    (
        "ledger/writes.go",
        '":opened": num(j.Opened + 1)',
        '":opened": num(j.Opened)',
        "a run that was given back is an attempt",
    ),
    ("driver/start.go", "if j.Commit.State == job.Committing {", "if false {", "a commit that began is not resumed"),
    (
        "driver/start.go",
        "f.State == job.Late && j.Revision <= 1",
        "f.State == job.Late",
        "a restatement without the late files",
    ),
    (
        "driver/finish.go",
        "if j.State != job.Running || j.Token != r.Token {",
        "if false {",
        "finishing twice is not noticed",
    ),
    ("driver/finish.go", "told.Kind == uselessKind", "false", "a bad file is tried three times"),
    ("driver/finish.go", "told.Kind == uselessKind", 'told.Kind != ""', "a day whose files changed is not tried again"),
    (
        "driver/finish.go",
        "if n.Tries == 0 {",
        "if n.Tries == 1 {",
        "files are settled after the day was announced",
    ),
    (
        "job/key.go",
        'return strings.TrimRight(text, "0")',
        "return text",
        "sequencers of two lengths compare as they are",
    ),
    (
        "job/job.go",
        "ticketLife = 12*time.Hour - 10*time.Minute",
        "ticketLife = 12*time.Hour + 10*time.Minute",
        "a ticket appears again after 12 hours",
    ),
    (
        "ledger/writes.go",
        '" OR sequencer < :sequencer"',
        '" OR sequencer > :sequencer"',
        "an older event overwrites a newer one",
    ),
    (
        "ledger/writes.go",
        "condition, values = sameObject, objectOf(was)",
        'condition, values = "attribute_exists(job)", item{}',
        "a look that was overtaken overwrites a later one",
    ),
    (
        "ledger/writes.go",
        'REMOVE " + ticket + ", #cancel"',
        'REMOVE #cancel"',
        "a job keeps the ticket of its last attempt",
    ),
    (
        "driver/intake.go",
        "overtaken = overtaken || err == nil",
        "overtaken = false",
        "who was overtaken does not look again",
    ),
    (
        "driver/intake.go",
        "if objects == nil || news(recorded, objects) {",
        "if objects == nil {",
        "a sweep looks before it reads the ledger",
    ),
    ("driver/intake.go", "faults = append(faults, i.removed(ctx, gone))", "_ = gone", "a deleted file takes part"),
    (
        "driver/start.go",
        "b, err := t.Promoter.promote(ctx)",
        "b, err := t.Promoter.Board(ctx)",
        "a retry waits for the sweep",
    ),
    (
        "driver/intake.go",
        "\tif !first {\n\t\treturn a.ledger",
        "\tif !first && false {\n\t\treturn a.ledger",
        "each of hundreds of files is told of",
    ),
    (
        "ledger/writes.go",
        'ended.update += ", exported"',
        'ended.update += ""',
        "what BigQuery has of the last revision counts for this one",
    ),
    (
        "driver/start.go",
        "\t\tif !t.failed {\n",
        "\t\tif !t.failed && len(t.looked) == 0 {\n",
        "a slot waits for all engines",
    ),
    ("driver/start.go", "faults = append(faults, s.sendAnew(ctx, j))", "continue", "a ticket is not sent anew"),
    ("driver/start.go", "return s.Tickets.Delete(ctx, old)", "return nil", "the old ticket of two is left"),
    (
        "driver/start.go",
        "if err == nil && there.StartedAt.Equal(began) {",
        "if err == nil {",
        "the order of another ledger's run is taken",
    ),
    (
        "driver/start.go",
        "if len(files) == 0 && j.Commit.State != job.Committing && !j.Retract {",
        "if false {",
        "a day without files is closed",
    ),
    ("messages/messages.go", "if got.Version != Version {", "if false {", "a ticket of another version is taken"),
    (
        "driver/finish.go",
        "told.Kind == uselessKind",
        'told.Kind != "internal"',
        "a day whose file changed while its run read it is not tried again",
    ),
    (
        "driver/finish.go",
        "case from == job.Landed && j.Done():",
        "case from == job.Landed:",
        "a file that a restatement takes is late",
    ),
    (
        "ledger/writes.go",
        "if is.State == job.Cancelled && is.Done() {",
        "if false {",
        "a cancelled restatement leaves its day's export and files undone",
    ),
    (
        "job/end.go",
        "if j.Readable() {",
        "if false {",
        "a restatement that is cancelled while it runs leaves its day's export and files undone",
    ),
    (
        "job/job.go",
        "(j.State != Running || !j.Published())",
        "j.State == Succeeded",
        "a day that is being restated is not exported",
    ),
    (
        "ledger/writes.go",
        '"tries > :none"',
        '"tries >= :none"',
        "an export that comes early leaves files unmarked",
    ),
    (
        "ledger/writes.go",
        "loading IN (:token, :was)",
        "attribute_exists(loading)",
        "it is forgotten whose rows may be on their way to BigQuery",
    ),
    (
        "warehouse/export.go",
        "if j.Loading != 0 && j.Loading != j.Commit.Token {",
        "if false {",
        "older rows come to BigQuery after newer ones",
    ),
    (
        "driver/intake.go",
        "if err := id.Day.Check(i.Now(), i.Zone); err != nil {",
        "if err := id.Day.Check(i.Now(), i.Zone); err != nil && false {",
        "a day of the next century closes its feed",
    ),
    (
        "driver/promote.go",
        "id.Day.Check(b.Now, b.Zone) == nil && ",
        "",
        "a day that is not accepted is waited for",
    ),
    (
        "job/job.go",
        "j.State == Cancelled && j.Readable()",
        "j.State == Cancelled && j.Commit.State == Committed",
        "a retracted day is closed",
    ),
    ("job/job.go", "f.Retracted > 0 && f.Retracted <= j.Retracted", "false", "files of a retracted day are read again"),
    (
        "job/job.go",
        "(j.State != Running || !j.Published())",
        "(j.State == Succeeded || !j.Published())",
        "a retracted day stays in BigQuery",
    ),
    (
        "job/act.go",
        "to, j.Retract = Cancelled, false",
        "to = Cancelled",
        "a retraction that was cancelled takes place later",
    ),
    (
        "job/act.go",
        '\t\tcase j.State == Running:\n\t\t\treturn j, refused("job %s runs',
        '\t\tcase false:\n\t\t\treturn j, refused("job %s runs',
        "a day is retracted while it runs",
    ),
    (
        "job/plan.go",
        "\tif j.Retract {\n\t\treturn found",
        "\tif false {\n\t\treturn found",
        "a retraction waits for prerequisites",
    ),
    ("job/plan.go", "if j.Planned(p.LastDay[j.Feed]) {", "if j.State.Open() {", "what the rule held stays held"),
    ("job/job.go", "j.Acts[len(j.Acts)-1].Verb != Hold", "true", "what a person holds is let go"),
    (
        "ledger/writes.go",
        "e.Retracted > 0 && r.ID.Day == lastDay",
        "false",
        "the last day stays that of the retracted one",
    ),
    (
        "ledger/reads.go",
        "if j := i.job(); j.Readable() {",
        'if j := i.job(); j.State != "" {',
        "the last day is one that nobody can read",
    ),
    (
        "ledger/reads.go",
        "if j.Planned(b.LastDay[id.Feed]) {",
        "if j.State.Open() {",
        "prerequisites of days that the rule held are not on the board",
    ),
    (
        "driver/intake.go",
        "if have && sameObject(old, f) && j.Void(old) {",
        "if false {",
        "a retracted day opens with its old files",
    ),
    (
        "driver/finish.go",
        "\tif j.TakenBack() {\n",
        "\tif false {\n",
        "files that came while a day was retracted are left",
    ),
    ("driver/operate.go", 'if err == nil && missing != "" {', "if false {", "half a day is closed"),
    ("driver/start.go", "|| j.Void(f)", "", "a run reads files of a retracted day"),
    (
        "ledger/writes.go",
        'condition: "attribute_not_exists(feed)",\n\t\tvalues: item{\n\t\t\t":cancelled"',
        'condition: "attribute_not_exists(feed) OR attribute_exists(feed)",\n\t\tvalues: item{\n\t\t\t":cancelled"',
        "a day that has a job by now is given up",
    ),
    ("job/key.go", "now.In(zone).Format", "now.UTC().Format", "tomorrow is that of another zone"),
    (
        "driver/intake.go",
        "if id.Day.Check(f.LandedAt, i.Zone) != nil {",
        "if false {",
        "a file that is taken in when its day has come is still listed as rejected",
    ),
    (
        "driver/sweep.go",
        'p.until = days[n-1].id.String() + "/"',
        'p.until = days[n-1].id.String() + "0"',
        "a pass skips the day in which a page ends",
    ),
    (
        "driver/sweep.go",
        'p.until, p.last = d.id.String()+"/", false',
        'p.until, p.last = d.id.String()+"0", false',
        "a pass that runs out of time skips a day",
    ),
    (
        "driver/sweep.go",
        'p.until = days[0].id.String() + "0"',
        'p.until = days[0].id.String() + "/"',
        "a pass does not end when a day is larger than a page",
    ),
    (
        "driver/sweep.go",
        "\t\tis.After = p.until\n",
        "",
        "a pass does not save how far it came",
    ),
    (
        "driver/sweep.go",
        "is.Failed = is.Failed || len(p.faults) > 0",
        "_ = p.faults",
        "a pass in which a day failed counts",
    ),
    (
        "driver/sweep.go",
        "f.Key, f.VersionID, f.ETag, f.Bytes",
        'f.Key, "", "", f.Bytes',
        "a file that is written again goes unseen",
    ),
    (
        "driver/sweep.go",
        "f.Name != job.Marker && f.AlertedAt.IsZero()",
        "false",
        "a late file that nobody was told of is in order",
    ),
    (
        "driver/sweep.go",
        'if j.Done() && j.Looked == "" && len',
        "if j.Done() && len",
        "nobody sees that a late file is gone",
    ),
    (
        "ledger/sweep.go",
        '"attribute_not_exists(began) OR began = :was AND #after = :behind"',
        '"attribute_not_exists(began) OR began = :was OR began <> :was OR #after = :behind"',
        "an invocation that was overtaken takes the pass back",
    ),
    (
        "ledger/writes.go",
        "\tif e.To.Ended() {\n\t\tchanges = append(changes, l.ended(r.ID))",
        "\tif false {\n\t\tchanges = append(changes, l.ended(r.ID))",
        "a job that ended stays open",
    ),
]


def main() -> int:
    """Plants the bugs, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="plant nothing, and see only that every bug has its place")
    check = parser.parse_args().check
    if misplaced():
        return 1
    if check:
        return 0
    caught = 0
    with tempfile.TemporaryDirectory(prefix="mutants") as folder:
        copy = Path(folder) / "sluice"
        copy.mkdir()
        for name in ["go.mod", "go.sum"]:
            shutil.copy(ROOT / name, copy)
        shutil.copytree(ROOT / "internal", copy / "internal", ignore=shutil.ignore_patterns("rapid"))
        (copy / ".venv").symlink_to((ROOT / ".venv").resolve())
        if (verdict := judge(copy)) != "NOT CAUGHT":
            print(f"without any bug: {verdict}")
            return 1
        for file, text, bug, words in BUGS:
            path = copy / "internal" / file
            good = path.read_text()
            path.write_text(good.replace(text, bug))
            verdict = judge(copy)
            path.write_text(good)
            caught += verdict.startswith("caught")
            print(f"{verdict}: {words} (internal/{file})", flush=True)
    print(f"{len(BUGS)} planted, {caught} caught")
    return 0 if caught == len(BUGS) else 1


def misplaced() -> bool:
    """Whether bugs have no place any more, because the code has changed; names them."""
    found = False
    for file, text, _, words in BUGS:
        if (times := (ROOT / "internal" / file).read_text().count(text)) != 1:
            print(f"cannot plant: {words}: internal/{file} has {text!r} {times} times", flush=True)
            found = True
    return found


def judge(copy: Path) -> str:
    """Runs the tests from fast to slow until one fails."""
    for package in ["job", "ledger", "messages", "warehouse", "driver"]:
        rapid = ["-rapid.checks=99", "-rapid.nofailfile", "-rapid.shrinktime=0s"]
        schedules = rapid if package in ("job", "messages", "driver") else []
        ran = subprocess.run(
            ["go", "test", "-failfast", f"./internal/{package}", *schedules],
            cwd=copy,
            capture_output=True,
            text=True,
        )
        if "[build failed]" in ran.stdout or "[setup failed]" in ran.stdout:
            return "does not compile"
        if ran.returncode != 0:
            failed = [line.split()[2] for line in ran.stdout.splitlines() if line.startswith("--- FAIL: ")]
            return f"caught by {(failed or ['a panic'])[0]}"
    return "NOT CAUGHT"


if __name__ == "__main__":
    sys.exit(main())
