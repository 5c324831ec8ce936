"""What the tests of pages take from this computer: its programs, a free port, and an image of its own Node."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.integration.docker_command import a_name, docker

__all__ = ["a_node_image", "a_port", "needs"]


def a_port() -> str:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return str(found.getsockname()[1])


def needs(program: str, package: str) -> None:
    if shutil.which(program) is None:
        pytest.fail(f"{program} is missing: install Debian's package {package}.", pytrace=False)


@contextmanager
def a_node_image() -> Iterator[str]:
    """An image of this computer's Node and its libraries, as not everywhere one can be pulled. It goes with the block."""
    needs("node", "nodejs")
    node = os.path.realpath(shutil.which("node") or "")
    libraries = re.findall(r"(/\S+) \(0x", subprocess.check_output(["ldd", node], text=True))
    libraries += [str(Path(found).with_name("librt.so.1")) for found in libraries if found.endswith("/libc.so.6")]
    tag = f"{a_name('node')}:latest"
    with tempfile.TemporaryFile() as archive:
        with tarfile.open(fileobj=archive, mode="w", dereference=True) as tar:
            tar.add(node, "usr/local/bin/node")
            for library in libraries:
                tar.add(library, library)
        archive.seek(0)
        environ = "ENV PATH=/usr/local/bin"
        subprocess.run(
            ["docker", "import", "--change", environ, "-", tag], stdin=archive, check=True, capture_output=True
        )
    try:
        yield tag
    finally:
        docker("rmi", "-f", tag)
