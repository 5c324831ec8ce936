"""Warm machines change hands as fast as ever while the daemon hangs, measured with the computer to itself."""

from __future__ import annotations

from pathlib import Path

from tests.integration.test_daemon import run_alone


def test_a_daemon_that_hangs_slows_no_warm_machine_down(example_image: str) -> None:
    """`own_daemon_speed.py`, as root."""
    run_alone(Path(__file__).with_name("own_daemon_speed.py"))
