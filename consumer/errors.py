"""What can go wrong, and the one table that decides what follows.

Every error of ours carries a sentence that may be shown to the user who sent the job: it names the field and
the limit, and holds no prompt, key, path or URL.
"""

import math
from dataclasses import dataclass
from enum import StrEnum


class ConsumerError(Exception):
    """The base of our errors; `str(error)` is a sentence for people."""


class UsageError(ConsumerError):
    """A mistake in a command, a setting or a file of job types (exit code 2)."""


class SchemaTooOldError(ConsumerError):
    """The database lacks migrations that this version needs (exit code 4)."""


class DatabaseRefusedError(ConsumerError):
    """The database is not there, or does not let us in (exit code 5)."""


class RejectedError(ConsumerError):
    """The request can never succeed as it is: the job fails at once, without another attempt."""


class EngineUnusableError(ConsumerError):
    """The engine cannot work in this process (an import, the model, the device): release, exit 3."""


class ModelUnusableError(EngineUnusableError):
    """A model cannot be read here, or never fits on the device; the device itself may be well."""


class StorageUnusableError(ConsumerError):
    """This worker cannot store anything (no room, no rights): release, exit 3."""


class OutOfMemoryError(ConsumerError):
    """The device ran out of memory for this request; another attempt may fit."""


class EngineHungError(ConsumerError):
    """A phase of the work lasted too long: another attempt, in another process."""

    def __init__(self, phase: str, seconds: float) -> None:
        super().__init__(f"The work hung in the phase {phase}: nothing happened for {seconds:g} seconds.")
        self.phase = phase
        self.seconds = seconds


class StorageUnavailableError(ConsumerError):
    """The storage did not answer, or not yet; trying again can help, and not before `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StorageAwayError(ConsumerError):
    """The storage answered nothing at all for too long: the job is given back, for no fault of its own."""


class StorageRefusedError(ConsumerError):
    """The storage will not take the bytes, now or later: a bucket, a policy, a size, a type."""


class ReferenceUnavailableError(ConsumerError):
    """A picture that the request refers to could not be had this time; another attempt may get it."""


class IncompleteError(ConsumerError):
    """The engine returned, and some asset of the job has no result."""


class StoppedError(ConsumerError):
    """The work in hand must end now; raised inside an engine from its `on_step`."""


class JobCancelledError(StoppedError):
    """The user cancelled the job: nothing is left to write."""


class LeaseLostError(StoppedError):
    """The job is no longer ours (rescued, released, deleted): nothing may be written."""


class DrainingError(StoppedError):
    """This worker is going away: the job is released and its attempt given back."""


class Verdict(StrEnum):
    """How one attempt at a job ended, and so what is written to its row."""

    completed = "completed"
    retry = "retry"
    fail = "fail"
    release = "release"
    cancelled = "cancelled"
    lost = "lost"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, the sentence that the user may read, whether this process is unfit for further work, whether this is
    a failure that its engines or its device may be to blame for, and whether a job that is released comes again only
    after a while, behind others that may fare better."""

    verdict: Verdict
    message: str
    unusable: bool = False
    suspicious: bool = False
    later: bool = False


# From the most particular class to the least; the first that matches decides.
POLICY: tuple[tuple[type[BaseException], Verdict], ...] = (
    (RejectedError, Verdict.fail),
    (StorageRefusedError, Verdict.fail),
    (JobCancelledError, Verdict.cancelled),
    (LeaseLostError, Verdict.lost),
    (DrainingError, Verdict.release),
    (StorageAwayError, Verdict.release),
    (EngineUnusableError, Verdict.release),
    (StorageUnusableError, Verdict.release),
    (Exception, Verdict.retry),
    (BaseException, Verdict.release),
)

UNUSABLE = (EngineUnusableError, EngineHungError, StorageUnusableError)
"""After these the process is unfit for any further job."""


MOST_GIVEN_BACK = 2
"""So often a job gets its attempt back from a process that became unusable; then it may be what makes it so."""

BLAMELESS = (RejectedError, ReferenceUnavailableError, StorageRefusedError, StorageUnavailableError)
"""Failures that say nothing about the engines and the device of this process."""


def decide(
    error: BaseException,
    *,
    attempts: int,
    max_attempts: int,
    given_back: int = 0,
    failures: int = 0,
    max_failures: float = math.inf,
) -> Decision:
    """What follows from `error` in attempt number `attempts` (from 1) of at most `max_attempts`, after `given_back`
    that did not count, in a process that has seen `failures` suspicious ones in a row before it, and is unfit with the
    `max_failures`th."""
    error = unwrap(error)
    verdict = next(verdict for kind, verdict in POLICY if isinstance(error, kind))
    later = isinstance(error, EngineUnusableError)
    if later and given_back >= MOST_GIVEN_BACK:
        verdict = Verdict.retry
    if verdict is Verdict.retry and attempts >= max_attempts:
        verdict = Verdict.fail
    message, unusable = public_message(error), isinstance(error, UNUSABLE)
    suspicious = verdict in (Verdict.retry, Verdict.fail) and not unusable and not isinstance(error, BLAMELESS)
    if suspicious and failures + 1 >= max_failures:
        unusable = True
        # The first of a row costs its attempt in any case: a job that always fails would be given back for ever.
        if failures:
            verdict = Verdict.release
            message = f"{failures + 1} jobs in a row failed here; another process may do better."
    return Decision(verdict, message, unusable, suspicious, later)


def unwrap(error: BaseException) -> BaseException:
    """The error that matters most in an ExceptionGroup: the one that comes first in POLICY."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [unwrap(inner) for inner in error.exceptions]
    return min(leaves, key=lambda leaf: next(i for i, (kind, _) in enumerate(POLICY) if isinstance(leaf, kind)))


def public_message(error: BaseException) -> str:
    """A sentence that is safe to show: our own errors speak, anything else only says that it happened."""
    if isinstance(error, ConsumerError) and str(error):
        return str(error)
    return "An internal error stopped this job."
