"""A soak: the real service on a dockerd of its own, for as long as deadlines and pauses of many minutes take.

usage: python -m tests.soak.soak --minutes M [--only ACT]… [--keep FOLDER]    in namespaces of its own: see run.py
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

from tests.chaos.chaos import in_memory
from tests.integration.daemon import a_daemon
from tests.soak.act import Act, Stage
from tests.soak.plan import chosen
from tests.soak.verdict import Verdict

__all__ = ["main"]


def play(groups: list[list[type[Act]]], stage: Stage) -> None:
    for group in groups:
        threads = [Thread(target=kind(stage).run, name=kind.name()) for kind in group]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def save(stage: Stage, folder: Path) -> None:
    """Keep the logs, which the namespaces take along when they end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for log in stage.folder.glob("*/log"):
        shutil.copy(log, folder / f"{log.parent.name}.log")
    shutil.copy(stage.daemon.folder / "log", folder / "dockerd.log")
    (folder / "timeline.txt").write_text("\n".join(stage.verdict.lines), encoding="utf-8")


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args(words)
    groups = chosen(given.only)
    with in_memory() as folder, a_daemon() as daemon:
        os.environ["DOCKER_HOST"] = daemon.host  # for every helper that names no engine
        stage = Stage(folder, daemon, given.minutes, Verdict())
        play(groups, stage)
        code = stage.verdict.report([kind.name() for group in groups for kind in group])
        if given.keep is not None:
            save(stage, given.keep)
        return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
