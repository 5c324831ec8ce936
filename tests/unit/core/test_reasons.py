"""The sentences that are made of what an engine or a probe says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.unit.core.build import a_machine

from worker_orchestrator.core import reasons
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import State


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("", ""),
        ("no space left on device", "no space left on device."),
        ("Docker is stopping.", "Docker is stopping."),
        ("does the worker listen on 0.0.0.0:9092?", "does the worker listen on 0.0.0.0:9092?"),
        ("It said: help!", "It said: help!"),
        ("a long text …", "a long text …"),
        ("serve with a wider range (--first-port)", "serve with a wider range (--first-port)."),
    ],
)
def test_a_sentence_has_one_full_stop(text: str, whole: str) -> None:
    assert reasons.sentence(text) == whole


@pytest.mark.parametrize("status", set(Status) - {Status.RUNNING, Status.UNKNOWN})
def test_what_a_container_that_does_not_run_does_is_said_in_words_of_its_own(status: Status) -> None:
    """Its status alone, as in "its container is exited", is no English."""
    assert reasons.not_running(status) != f"The container is {status}." or status is Status.PAUSED


def test_a_status_that_has_no_words_of_its_own_is_named() -> None:
    assert reasons.not_running("unknown") == "The container is unknown."


@pytest.mark.parametrize(
    ("reason", "whole"),
    [
        (lambda: reasons.exited(1), "The container exited with code 1."),
        (lambda: reasons.killed(137), "The container was killed from outside (exit code 137)."),
        (lambda: reasons.out_of_memory(137), "The container ran out of memory and was killed (exit code 137)."),
        (
            lambda: reasons.failed_again(reasons.exited(1), 6),
            "The container exited with code 1. It had been restarted 6 times, so it is not restarted again.",
        ),
        (lambda: reasons.started_too_slowly(60.0), "The container did not start within 60 s."),
        (
            lambda: reasons.silent_after_start(1.5, "no connection"),
            "The worker did not answer within 1.5 s of its start: no connection.",
        ),
        (
            lambda: reasons.silent_after_start(60, "nothing answers; does the worker listen on 0.0.0.0:9092?"),
            "The worker did not answer within 60 s of its start: nothing answers; does the worker listen on 0.0.0.0:9092?",
        ),
        (
            lambda: reasons.silent_at_assignment("nothing answers"),
            "The worker did not answer when it was about to be assigned: nothing answers.",
        ),
        (
            lambda: reasons.runs_silently(""),
            "The container was restarted and runs, but the worker does not answer yet.",
        ),
        (
            lambda: reasons.runs_silently("nothing answers"),
            "The container was restarted and runs, but the worker does not answer yet: nothing answers.",
        ),
        (
            lambda: reasons.restart_failed("Docker refused to start the container: no such file."),
            "The container could not be restarted. Docker refused to start the container: no such file.",
        ),
        (lambda: reasons.restart_put_off("Docker's disk is full"), "The restart is put off. Docker's disk is full."),
        (
            lambda: reasons.failed_machine("w1", reasons.exited(1)),
            "Machine w1 failed. The container exited with code 1.",
        ),
        (lambda: reasons.not_the_current(""), "It was made from an older image or older settings."),
        (
            lambda: reasons.not_the_current("The disk is full"),
            "It was made from an older image or older settings. Newer machines do not come up. The disk is full.",
        ),
    ],
)
def test_a_reason_reads_as_an_engineer_would_say_it(reason: Callable[[], str], whole: str) -> None:
    assert reason() == whole


@pytest.mark.parametrize("reason", [reasons.RESTART_REQUESTED, reasons.RESTART_REQUESTED_BEFORE])
def test_a_restart_that_an_earlier_version_recorded_is_still_done(reason: str) -> None:
    """Its words in the database are those of then."""
    fleet = Fleet("owner")
    fleet.load([a_machine(state=State.STARTING, project="p", generation=1, reason=reason)], [], 0.0)
    assert fleet.watches["w1"].restart_requests == 1
