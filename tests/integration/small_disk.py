"""A small file system of its own, that a test can fill to the last byte, or make read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["SmallDisk", "a_small_disk"]


@dataclass(slots=True)
class SmallDisk:
    """A tmpfs. `fill` it and make `room` again as often as you like."""

    path: Path

    @property
    def _filler(self) -> Path:
        return self.path / "filler"

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as filler, suppress(OSError):
            while filler.write(bytes(4096)):
                pass
        assert os.statvfs(self.path).f_bfree == 0, "there is room left"

    def room(self) -> None:
        self._filler.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """While the block runs. Possible while nobody has a file open to write."""
        _run("mount", "-o", "remount,ro", str(self.path))
        try:
            yield
        finally:
            _run("mount", "-o", "remount,rw", str(self.path))


@contextmanager
def a_small_disk(path: Path, *, kib: int) -> Iterator[SmallDisk]:
    """Mounted at this folder, which is made, while the block runs. Needs root."""
    path.mkdir(parents=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={kib}k,mode=700", "small-disk", str(path))
    try:
        yield SmallDisk(path)
    finally:
        _run("umount", str(path))


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(words)}: {done.stderr.strip()} (these tests need root)", pytrace=False)
