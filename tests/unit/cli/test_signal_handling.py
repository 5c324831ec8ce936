"""Signals that end a command: also where the exception is raised in a place from which Python lets none out."""

from __future__ import annotations

import os
import signal
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from worker_orchestrator.cli.signal_handling import exit_on_signals


class Thing:
    """What can be referred to weakly."""


def signals_itself(_: object) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.01)  # here it is handled


def waits_after_a_signal_in_a_callback() -> None:
    with exit_on_signals():
        thing = Thing()
        kept = weakref.ref(thing, signals_itself)
        del thing
        time.sleep(20)
        assert kept() is None


def test_a_signal_whose_exception_was_dropped_ends_the_block_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: dropped.append(what.exc_value))
    begun = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        waits_after_a_signal_in_a_callback()
    assert [type(error) for error in dropped] == [SystemExit]
    assert ended.value.code == 128 + signal.SIGTERM
    assert time.monotonic() - begun < 10


def test_what_is_cleared_up_meanwhile_is_not_interrupted() -> None:
    steps: list[str] = []

    def work() -> None:
        with exit_on_signals(), cleared_up():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20)

    @contextmanager
    def cleared_up() -> Iterator[None]:
        try:
            yield
        finally:
            steps.append("begun")
            time.sleep(0.7)
            os.kill(os.getpid(), signal.SIGHUP)  # as of a terminal that closes
            time.sleep(0.01)
            steps.append("ended")

    with pytest.raises(SystemExit) as ended:
        work()
    assert steps == ["begun", "ended"]
    assert ended.value.code == 128 + signal.SIGTERM


def test_afterwards_signals_mean_what_they_did() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with exit_on_signals():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
