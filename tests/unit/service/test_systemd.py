"""What systemd hands over is taken by the process that it is for, and by no other."""

from __future__ import annotations

import os

from worker_orchestrator.service.systemd import take_notifier, take_sockets
from worker_orchestrator.settings.settings import Settings


def test_sockets_that_were_passed_to_another_process_are_left_alone_and_passed_to_no_child() -> None:
    """As if a wrapper that systemd started had run the service: the numbers name files of somebody else here."""
    handed = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web", "HOME": "/"}
    assert take_sockets(Settings(image="an-image"), handed) == []
    assert handed == {"HOME": "/"}


def test_without_systemd_nobody_is_told_and_nothing_happens() -> None:
    handed = {"NOTIFY_SOCKET": "/nowhere/notify"}
    take_notifier(handed)("READY=1")
    assert handed == {}
    take_notifier(handed)("READY=1")
