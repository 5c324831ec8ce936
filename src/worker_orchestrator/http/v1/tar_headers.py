"""The headers of a tar archive, looked at one by one before any reader of tar interprets what they say.

A reader follows maps of holes, headers that continue elsewhere and long lists of attributes. Nothing of that is needed here,
and much of it was never meant for archives of strangers: it is refused as long as it is only bytes.
"""

from __future__ import annotations

import re
import tarfile
from typing import Final

from worker_orchestrator.errors import InvalidInput

__all__ = ["insist_on_plain_headers", "refused_entry"]

_EXTENSION_BYTES: Final = 64 * 1024
"""The most that a header may have that tells of the next one: its long name, or its attributes."""
_FILES: Final = {tarfile.REGTYPE, tarfile.AREGTYPE}
_ATTRIBUTES: Final = {tarfile.XHDTYPE, tarfile.XGLTYPE}
_EXTENSIONS: Final = {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, *_ATTRIBUTES}
_PLAIN: Final = {*_FILES, tarfile.DIRTYPE, tarfile.SYMTYPE}
_HAS_HOLES: Final = re.compile(rb"(?:\A|\n)\d+ GNU\.sparse\.")
_HAS_ANOTHER_SIZE: Final = re.compile(rb"(?:\A|\n)\d+ size=")


def insist_on_plain_headers(archive: bytes) -> None:
    """Raises InvalidInput unless all entries are files, folders or symbolic links, with short attributes.

    Raises tarfile.TarError or ValueError for what is no header. Ends where the archive does, also if it was cut.
    """
    offset, number = 0, 1
    while any(block := archive[offset : offset + tarfile.BLOCKSIZE]):
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        begin = offset + tarfile.BLOCKSIZE
        if header.size < 0:
            raise tarfile.ReadError
        if header.type in _EXTENSIONS:
            _insist_on_plain_extension(header, archive[begin : begin + header.size], number)
        elif header.type in _PLAIN:
            number += 1
        else:
            raise _no_plain_entry(number)
        has_content = header.type in _FILES or header.type in _EXTENSIONS
        offset = begin + (-(-header.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE if has_content else 0)


def refused_entry(number: int, why: str) -> InvalidInput:
    """A path may be long, and control the terminal of whoever reads of it. So it is the number that tells the entry."""
    return InvalidInput(f"Entry {number} of the archive in files {why}.")


def _insist_on_plain_extension(header: tarfile.TarInfo, content: bytes, number: int) -> None:
    if header.size > _EXTENSION_BYTES:
        raise refused_entry(
            number,
            f"has {header.size} bytes of a long name or of attributes: at most {_EXTENSION_BYTES} are taken. Pack it "
            "without them (tar --format=ustar)",
        )
    if header.type in _ATTRIBUTES and _HAS_HOLES.search(content):
        raise _no_plain_entry(number)
    if header.type in _ATTRIBUTES and _HAS_ANOTHER_SIZE.search(content):
        raise refused_entry(number, "has its size in its attributes: pack it without them (tar --format=ustar)")


def _no_plain_entry(number: int) -> InvalidInput:
    return refused_entry(number, "is neither a file, a folder nor a symbolic link")
