"""Engines of another Linux than this one: their programs come from a tree, as `debootstrap` makes it, and see only that."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Tree"]

# By pivot_root: under a plain chroot whatever an engine executes in a container lands in the host's own files. Podman's crun
# takes no hybrid control groups. The folder of the engine keeps its path.
_ENTER: Final = """
set -e; tree=$1 folder=$2
mount --rbind "$tree" "$tree"; cd "$tree"; mkdir -p proc sys dev run tmp .host
for of in /proc /sys /dev; do mount --rbind "$of" ".$of"; mount --make-rslave ".$of"; done
mount -t tmpfs tmpfs run; mount -t tmpfs tmpfs tmp
mkdir -p ".$folder"; mount --rbind "$folder" ".$folder"
pivot_root . .host
exec chroot . /bin/sh -c 'umount -l /.host; umount -l /sys/fs/cgroup/unified 2>/dev/null; echo; exec sleep 1000000'
"""


@dataclass(slots=True)
class Tree:
    """A mount namespace in which this tree is all there is. It outlives the engines that are started in it, as a host."""

    process: subprocess.Popen[bytes]

    @classmethod
    def enter(cls, tree: Path, folder: Path) -> Tree:
        """With this folder in it, at its own path."""
        words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER, "sh", str(tree), str(folder)]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout as told:
            assert told.readline() == b"\n", f"{tree} cannot be entered: what is wrong is told above"
        return cls(process)

    def command(self, words: list[str]) -> list[str]:
        """What runs these words in it, as one process."""
        return ["nsenter", "--mount", "--target", str(self.process.pid), *words]

    def leave(self) -> None:
        self.process.kill()
        self.process.wait()
