"""What is left of values when all is over: in the records, in a backup of them, in what the engine keeps."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from tests.chaos.stage import Stage
from tests.chaos.values import PLANTED
from tests.integration.docker_command import LABEL, docker
from tests.integration.running import orchestrator

__all__ = ["back_up", "check_leftovers"]


def back_up(stage: Stage) -> None:
    """Make a copy of the records, as an operator does while the service runs."""
    flags, folder = stage.service.command_flags, stage.service.folder
    done = orchestrator("backup", str(folder / "backup.db"), *flags, cwd=folder)
    stage.model.check(done.returncode == 0, f"the backup failed: {done.stderr}")


def check_leftovers(stage: Stage) -> None:
    """End the service, remove its machines. Then no container, volume, network or file has anything of what was sent."""
    check, flags, folder = stage.model.check, stage.service.command_flags, stage.service.folder
    stage.end_service(signal.SIGTERM)
    done = orchestrator("down", "--all", "--yes", *flags, cwd=folder)
    check(done.returncode == 0, f"`down --all` failed: {done.stderr}")
    check(not stage.containers(), f"containers are left: {stage.containers()}")
    if volumes := docker("volume", "ls", "-q", host=stage.daemon.host).lines:
        stage.model.fail(f"volumes are left: {docker('volume', 'inspect', *volumes, host=stage.daemon.host).out}")
    ours = ("--filter", f"label={LABEL}.owner={stage.owner}")
    networks = docker("network", "ls", "-q", *ours, host=stage.daemon.host).lines
    check(not networks, f"networks are left: {networks}")
    for place in (folder, stage.daemon.folder):
        check(not (found := _with_values(place)), f"values are left in {found}")


def _with_values(folder: Path) -> list[str]:
    """The files below it in which there are some."""
    words = ["grep", "-rlaF", "-D", "skip", PLANTED, str(folder)]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.splitlines()
