"""Images for peers, made from the example worker's image with `docker commit`, without a registry or a builder."""

from __future__ import annotations

import functools
import io
import subprocess
import tarfile
from collections.abc import Mapping
from typing import Final

from bench.subjects import IMAGE

__all__ = ["EXECD", "SCRIPTS", "make_images"]

SCRIPTS: Final = "worker-orchestrator-bench:latest"
"""The example worker with a user named root, which llm-sandbox needs."""
EXECD: Final = "worker-orchestrator-bench-execd:latest"
"""A stand-in for opensandbox/execd, whose registry may be unreachable. It only starts the entry point, so it costs
OpenSandbox less than its own image."""

_PASSWD: Final = b"root:x:0:0:root:/tmp:/bin/sh\n"
_BOOTSTRAP: Final = b'#!/bin/sh\nexec "$@"\n'
_FILES: Final[Mapping[str, Mapping[str, bytes]]] = {
    SCRIPTS: {"etc/passwd": _PASSWD},
    EXECD: {"etc/passwd": _PASSWD, "execd": _BOOTSTRAP, "bootstrap.sh": _BOOTSTRAP},
}


@functools.cache
def make_images() -> None:
    """Make those that are missing, or that were made from an older worker."""
    worker = _docker("image", "inspect", "--format", "{{.Id}}", IMAGE)
    for tag, files in _FILES.items():
        made = subprocess.run(
            ["docker", "image", "inspect", "--format", "{{.Parent}}", tag], capture_output=True, text=True, check=False
        )
        if made.stdout.strip() == worker:
            continue
        change = [] if tag == SCRIPTS else ["--change", "ENTRYPOINT []"]
        container = _docker("create", IMAGE)
        try:
            subprocess.run(["docker", "cp", "-", f"{container}:/"], input=_tar(files), check=True, capture_output=True)
            _docker("commit", *change, container, tag)
        finally:
            _docker("rm", "-f", container)


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


def _tar(files: Mapping[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()
