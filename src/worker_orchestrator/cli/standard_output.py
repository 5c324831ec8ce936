"""What a command prints arrives whole, or the command says that it did not.

The disk may be full, the reader gone, the file closed: Python itself would show a traceback, end with exit code 120, or lose
the text without a word. And where a standard file is closed when a process begins, the next one that is opened takes its
number, so that what is printed would end up in there.
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

__all__ = ["OutputLostError", "whole_output"]

READER_GONE: Final = 128 + getattr(signal, "SIGPIPE", 13)
"""As whatever else writes into a pipe ends; it says nothing, since whoever closed the pipe has read enough."""
_IN, _OUT, _ERR = range(3)


class OutputLostError(Exception):
    """Standard output could not be written. No OSError, lest it be taken for one of a file or a connection."""

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
    """Standard error: where it cannot be written, there is no place left to say so, and the work goes on."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


@contextmanager
def whole_output() -> Iterator[None]:
    """Run a command in it. Ends the process with one line where standard output was lost."""
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
    """The exit code: that of a command which failed anyway, else that of its lost output, which is said."""
    if lost.number == errno.EPIPE:
        return READER_GONE
    click.echo(f"orchestrator: Standard output cannot be written: {lost}.", err=True)
    ended = lost.__context__
    return ended.code if isinstance(ended, SystemExit) and isinstance(ended.code, int) and ended.code else FAILED


def _open_all() -> _Output:
    """Put ours in the place of the standard files, those that are closed included."""
    is_open = [_is_open(number) for number in (_IN, _OUT, _ERR)]
    if sys.stdin is None:
        sys.stdin = open(_IN, closefd=False)  # noqa: SIM115 # a number, for as long as the process lives
    output = _Output(_OUT, "wb", closefd=False)
    output.closed_before = not is_open[_OUT]
    sys.stdout = _text(output, sys.stdout)
    sys.stderr = _text(_Errors(_ERR, "wb", closefd=False), sys.stderr)
    return output


def _is_open(number: int) -> bool:
    """Whether this file is; if not, it leads nowhere from now on."""
    try:
        os.fstat(number)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)
        return False
    return True


def _text(raw: io.FileIO, before: TextIO | None) -> io.TextIOWrapper:
    """Text into this file, as Python would write it; what its encoding does not know is told by number, as on stderr."""
    encoding, errors = (before.encoding, before.errors) if before is not None else ("utf-8", "strict")
    errors = "backslashreplace" if errors == "strict" else errors
    is_error = raw.fileno() == _ERR
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, errors, line_buffering=is_error or raw.isatty(), write_through=is_error
    )
