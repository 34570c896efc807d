"""Why a run ends without a result. `kind` goes into the run's result, where the ledger and people read it."""

from __future__ import annotations


class JobError(Exception):
    """A run that cannot go on."""

    kind = "internal"


class InputError(JobError):
    """The day's files, or the contract that they are read by, cannot be used; nothing was published."""

    kind = "input"


class ChangedError(JobError):
    """A file is not the one any more that the run was ordered with; nothing was published, and the next run takes what is there then."""

    kind = "changed"


class ClaimError(JobError):
    """The ledger does not let this run publish: another run owns the day, or the day is closed."""

    kind = "claim"


class CancelledError(ClaimError):
    """Somebody cancelled the job before its run took the right to publish; nothing was published."""

    kind = "cancelled"


class AuditError(JobError):
    """The sums do not add up, so nothing was published."""

    kind = "audit"
