"""The one table that decides what follows from an error."""

import asyncio

import pytest

from consumer import errors
from consumer.errors import Verdict, decide, public_message, unwrap

INTERNAL = "An internal error stopped this job."


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (errors.RejectedError("steps must be 1."), Verdict.fail),
        (errors.StorageRefusedError("The bucket refuses this type."), Verdict.fail),
        (errors.JobCancelledError("cancelled"), Verdict.cancelled),
        (errors.LeaseLostError("lost"), Verdict.lost),
        (errors.DrainingError("draining"), Verdict.release),
        (errors.EngineUnusableError("no torch"), Verdict.release),
        (errors.StorageUnusableError("The disk is full."), Verdict.release),
        (errors.OutOfMemoryError("too large"), Verdict.retry),
        (errors.EngineHungError("step", 600), Verdict.retry),
        (errors.StorageUnavailableError("later"), Verdict.retry),
        (errors.IncompleteError("one is missing"), Verdict.retry),
        (errors.ConsumerError("anything of ours"), Verdict.retry),
        (ValueError("anything else"), Verdict.retry),
        (asyncio.CancelledError(), Verdict.release),
        (KeyboardInterrupt(), Verdict.release),
        (SystemExit(1), Verdict.release),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value.value,
)
def test_every_error_has_one_verdict(error, verdict):
    assert decide(error, attempts=1, max_attempts=3).verdict is verdict


@pytest.mark.parametrize(
    ("attempts", "max_attempts", "verdict"),
    [
        (1, 3, Verdict.retry),
        (2, 3, Verdict.retry),
        (3, 3, Verdict.fail),
        (4, 3, Verdict.fail),
        (1, 1, Verdict.fail),
    ],
)
def test_the_last_attempt_fails_where_an_earlier_one_is_retried(attempts, max_attempts, verdict):
    assert decide(ValueError(), attempts=attempts, max_attempts=max_attempts).verdict is verdict


@pytest.mark.parametrize(
    "error",
    [
        errors.DrainingError(),
        errors.LeaseLostError(),
        errors.JobCancelledError(),
        errors.EngineUnusableError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_the_jobs_fault_never_fails_it_on_its_last_attempt(error):
    assert decide(error, attempts=3, max_attempts=3).verdict is not Verdict.fail


def test_a_hang_costs_its_attempt_asks_for_a_restart_and_says_where_it_was():
    for attempts, verdict in [(1, Verdict.retry), (3, Verdict.fail)]:
        decision = decide(errors.EngineHungError("step", 600.0), attempts=attempts, max_attempts=3)
        assert (decision.verdict, decision.unusable) == (verdict, True)
        assert decision.message == "The work hung in the phase step: nothing happened for 600 seconds."


@pytest.mark.parametrize(
    ("error", "suspicious"),
    [
        (ValueError("anything"), True),
        (errors.OutOfMemoryError("too large"), True),
        (errors.IncompleteError("one is missing"), True),
        (errors.RejectedError("steps must be 1."), False),
        (errors.StorageRefusedError("The bucket refuses this type."), False),
        (errors.StorageUnavailableError("later"), False),
        (errors.StorageAwayError("away"), False),
        (errors.JobCancelledError("cancelled"), False),
        (errors.LeaseLostError("lost"), False),
        (errors.DrainingError("draining"), False),
        (errors.EngineUnusableError("no torch"), False),
        (errors.EngineHungError("step", 600), False),
        (asyncio.CancelledError(), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
@pytest.mark.parametrize("attempts", [1, 3])
def test_only_what_the_process_may_be_to_blame_for_counts(error, suspicious, attempts):
    usual = decide(error, attempts=attempts, max_attempts=3)
    assert usual.suspicious is suspicious
    last = decide(error, attempts=attempts, max_attempts=3, failures=4, max_failures=5)
    if suspicious:
        assert (last.verdict, last.unusable) == (Verdict.release, True)
        assert last.message == "5 jobs in a row failed here; another process may do better."
    else:
        assert last == usual


@pytest.mark.parametrize(
    ("failures", "max_failures", "verdict", "unusable"),
    [
        (0, 2, Verdict.retry, False),
        (1, 2, Verdict.release, True),
        (7, 2, Verdict.release, True),
        (0, 1, Verdict.retry, True),
    ],
)
def test_the_first_failure_of_a_row_costs_its_attempt_in_any_case(failures, max_failures, verdict, unusable):
    """Otherwise a job that always fails would be given back for ever, where one failure is enough."""
    decision = decide(ValueError(), attempts=1, max_attempts=3, failures=failures, max_failures=max_failures)
    assert (decision.verdict, decision.unusable) == (verdict, unusable)


def test_only_an_unusable_engine_or_storage_asks_for_a_restart():
    assert decide(errors.StorageUnusableError("The disk is full."), attempts=3, max_attempts=3).unusable
    assert decide(errors.EngineUnusableError("no torch"), attempts=1, max_attempts=3).unusable
    assert not decide(errors.OutOfMemoryError("too large"), attempts=1, max_attempts=3).unusable


def group(*inner: BaseException) -> BaseExceptionGroup:
    return BaseExceptionGroup("a task group", inner)


@pytest.mark.parametrize(
    ("error", "decisive"),
    [
        (group(ValueError(), errors.RejectedError("no")), errors.RejectedError),
        (group(errors.LeaseLostError(), errors.RejectedError("no")), errors.RejectedError),
        (group(errors.DrainingError(), errors.JobCancelledError()), errors.JobCancelledError),
        (group(errors.DrainingError(), errors.LeaseLostError()), errors.LeaseLostError),
        (group(ValueError(), errors.EngineUnusableError()), errors.EngineUnusableError),
        (group(asyncio.CancelledError(), ValueError()), ValueError),
        (group(group(group(errors.StorageRefusedError())), ValueError()), errors.StorageRefusedError),
        (ValueError(), ValueError),
    ],
)
def test_the_weightiest_error_of_a_group_decides(error, decisive):
    assert type(unwrap(error)) is decisive


def test_a_group_is_decided_like_the_error_that_weighs_most_in_it():
    error = group(ValueError("secret"), group(errors.RejectedError("steps must be 1.")))
    decision = decide(error, attempts=1, max_attempts=3)
    assert (decision.verdict, decision.message) == (Verdict.fail, "steps must be 1.")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.RejectedError("steps must be 1."), "steps must be 1."),
        (errors.OutOfMemoryError(), INTERNAL),
        (ValueError("postgresql://me:hunter2@db/postgres"), INTERNAL),
        (group(ValueError("a prompt")), INTERNAL),
    ],
)
def test_a_user_reads_our_own_sentences_and_nothing_of_a_foreign_error(error, message):
    assert decide(error, attempts=1, max_attempts=3).message == message


def test_public_message_of_a_group_itself_tells_nothing_of_its_members():
    assert public_message(group(ValueError("a prompt"))) == INTERNAL
