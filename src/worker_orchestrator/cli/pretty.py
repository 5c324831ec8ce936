"""What a person sees on a terminal: colours, a spinner while something is waited for, a bar while something is copied.

Rich is imported when it is first used, and never where the output goes into a pipe.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from worker_orchestrator.cli.formats import table
from worker_orchestrator.cli.unwinding import deaf_threads, unwinding

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["STYLES", "console", "is_person", "progress", "show_table", "styled_table", "waiting"]

STYLES: Final = {
    "idle": "green",
    "ready": "green",
    "assigned": "cyan",
    "starting": "yellow",
    "restarting": "yellow",
    "stopping": "dim",
    "failed": "red",
}
_PATIENCE_S: Final = 0.4
"""What takes less needs no spinner, and is not kept waiting for one."""
_NO_LIMIT: Final = 10_000


def is_person(stream: TextIO) -> bool:
    """Whether somebody looks at it: a terminal that understands more than plain lines."""
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # it is closed
        return False


def console(stream: TextIO | None = None, *, width: int | None = None) -> Console:
    """Rich's way to this stream (standard output). It follows NO_COLOR by itself."""
    from rich.console import Console  # noqa: PLC0415 # see above

    return Console(file=stream or sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def show_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: with colours for a person, else plain. No cell is ever cut: the terminal wraps what is too long."""
    if not is_person(sys.stdout):
        click.echo(table(headers, rows))
        return
    console(width=_NO_LIMIT).print(styled_table(headers, rows), no_wrap=True, crop=False, overflow="ignore")


def styled_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Rich's table, where words such as `failed` have their colour."""
    from rich.table import Table  # noqa: PLC0415 # see above
    from rich.text import Text  # noqa: PLC0415

    found = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in headers:
        found.add_column(header, no_wrap=True)
    for row in rows:
        found.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in row))
    return found


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """A spinner on standard error, for a person, once it takes a while."""
    if not is_person(sys.stderr):
        yield
        return
    lock, status, over = threading.Lock(), [], False

    def begin() -> None:
        shown = console(sys.stderr).status(what)
        with lock:
            if not over:
                shown.start()
                status.append(shown)

    timer = threading.Timer(_PATIENCE_S, begin)
    timer.daemon = True
    with deaf_threads():
        timer.start()
    try:
        with unwinding():
            yield
    finally:
        timer.cancel()
        with lock:
            over = True
            for shown in status:
                shown.stop()


@contextmanager
def progress(what: str, total_bytes: int | None) -> Iterator[Callable[[int], Any]]:
    """A bar on standard error, for a person: call what it yields with each number of bytes that was copied."""
    if not is_person(sys.stderr):
        yield lambda _: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn  # noqa: PLC0415 # see above

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        console=console(sys.stderr),
        transient=True,
    )
    with unwinding(), ExitStack() as shown:
        with deaf_threads():
            shown.enter_context(bar)
        task = bar.add_task(what, total=total_bytes)
        yield lambda count: bar.advance(task, count)
