"""Standard output that is either written completely, or makes the command say that it was not.

The disk may be full, the reader gone, the file closed: Python by itself would show a traceback, end with exit code 120, or
lose the text silently. And if a standard file is closed when a process begins, the next file that is opened gets its number,
so that the output would be written into that file.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO

import click

from worker_orchestrator.cli.exit_codes import FAILED

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["OutputLostError", "complete_output"]

READER_GONE: Final = 128 + getattr(signal, "SIGPIPE", 13)
"""The exit code of other programs in this case. There is no message, since a reader that closed the pipe has read enough."""
_IN, _OUT, _ERR = range(3)


class OutputLostError(Exception):
    """Standard output could not be written. Not an OSError, so that it is not taken for one of a file or connection."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror)
        self.number = error.errno


class _Output(io.FileIO):
    """Standard output. `closed_before`: it was not open when the process began."""

    closed_before = False

    def write(self, data: ReadableBuffer, /) -> int:
        if self.closed_before:
            raise OutputLostError(OSError(errno.EBADF, "it is closed"))
        try:
            return super().write(data)
        except OSError as error:
            raise OutputLostError(error) from None


class _Errors(io.FileIO):
    """Standard error. If it cannot be written, there is no place left to say so, and the work continues."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


@contextmanager
def complete_output() -> Iterator[None]:
    """Run a command in this block. If standard output was lost, it ends the process with one line about it."""
    output = _open_all()
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OutputLostError as lost:
        output.closed_before = False
        os.dup2(os.open(os.devnull, os.O_WRONLY), _OUT)  # for what is left in the buffers
        sys.exit(_code(lost))


def _code(lost: OutputLostError) -> int:
    """The exit code of a command that failed anyway, else that of its lost output. Prints the latter's message."""
    if lost.number == errno.EPIPE:
        return READER_GONE
    click.echo(f"orchestrator: Standard output cannot be written: {lost}.", err=True)
    ended = lost.__context__
    return ended.code if isinstance(ended, SystemExit) and isinstance(ended.code, int) and ended.code else FAILED


def _open_all() -> _Output:
    """Replace the standard files by ours, also those that are closed."""
    is_open = [_is_open(number) for number in (_IN, _OUT, _ERR)]
    if sys.stdin is None:
        sys.stdin = open(_IN, closefd=False)  # noqa: SIM115 # it stays open as long as the process lives
    output = _Output(_OUT, "wb", closefd=False)
    output.closed_before = not is_open[_OUT]
    sys.stdout = _text(output, sys.stdout)
    sys.stderr = _text(_Errors(_ERR, "wb", closefd=False), sys.stderr)
    return output


def _is_open(number: int) -> bool:
    """Whether this file is open. If not, it leads to the null device from now on."""
    try:
        os.fstat(number)
    except OSError:
        null_device = os.open(os.devnull, os.O_RDWR)
        if null_device != number:
            os.dup2(null_device, number)
            os.close(null_device)
        return False
    return True


def _text(raw: io.FileIO, before: TextIO | None) -> io.TextIOWrapper:
    """Text into this file as Python writes it, but with escapes for characters that its encoding lacks, as on stderr."""
    encoding, errors = (before.encoding, before.errors) if before is not None else ("utf-8", "strict")
    errors = "backslashreplace" if errors == "strict" else errors
    is_error = raw.fileno() == _ERR
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, errors, line_buffering=is_error or raw.isatty(), write_through=is_error
    )
