"""An image of this computer's own Python with a shell, as not everywhere one can be pulled: on it the Dockerfile builds."""

from __future__ import annotations

import ensurepip
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.integration.docker_command import a_name, docker

__all__ = ["a_python_image"]

_PROGRAMS: Final = ("sh", "mkdir", "chown")
"""What the Dockerfile runs besides Python."""
_OF_WHEELS: Final = ("libpthread.so.0", "libdl.so.2", "librt.so.1", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6")
"""Libraries of the system that wheels for many Linuxes may expect."""
_LEFT_OUT: Final = {"__pycache__", "test", "tests", "idlelib", "tkinter", "site-packages", "dist-packages", "lib2to3"}


def _libraries(files: list[str]) -> set[str]:
    """The shared libraries that these programs and modules load, under the names by which they look for them."""
    told = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False).stdout
    found = set(re.findall(r"(/\S+) \(0x", told))
    beside = (Path(one).with_name(name) for one in found if one.endswith("/libc.so.6") for name in _OF_WHEELS)
    return found | {str(one) for one in beside if one.exists()}


@contextmanager
def a_python_image() -> Iterator[str]:
    """Python with its standard library and what `venv` needs. It goes with the block."""
    python = os.path.realpath(sys.executable)
    library = Path(sysconfig.get_path("stdlib"))
    wheels = getattr(ensurepip, "_WHEEL_PKG_DIR", None)
    programs = {f"/bin/{name}": os.path.realpath(shutil.which(name) or name) for name in _PROGRAMS}
    modules = [str(found) for found in library.glob("lib-dynload/*.so")]
    with tempfile.TemporaryFile() as archive:
        with tarfile.open(fileobj=archive, mode="w", dereference=True) as tar:

            def kept(one: tarfile.TarInfo) -> tarfile.TarInfo | None:
                return None if Path(one.name).name in _LEFT_OUT else one

            for place, program in programs.items():
                tar.add(program, place)
            for place in {python, f"{Path(python).parent}/python3"}:
                tar.add(python, place)
            for folder in filter(None, (str(library), wheels)):
                tar.add(folder, folder, filter=kept)
            for found in sorted(_libraries([python, *programs.values(), *modules])):
                tar.add(found, found)
            for name, mode in (("tmp", 0o1777), ("var/lib", 0o755)):
                folder_there = tarfile.TarInfo(name)
                folder_there.type, folder_there.mode = tarfile.DIRTYPE, mode
                tar.addfile(folder_there)
        archive.seek(0)
        tag = f"{a_name('python')}:latest"
        path = f"ENV PATH={Path(python).parent}:/usr/bin:/bin"
        subprocess.run(["docker", "import", "--change", path, "-", tag], stdin=archive, check=True, capture_output=True)
    try:
        yield tag
    finally:
        docker("rmi", "-f", tag, check=False)
