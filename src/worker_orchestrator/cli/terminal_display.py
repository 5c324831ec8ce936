"""Output for a person at a terminal: coloured tables, a spinner while a command waits, a bar while it copies.

Rich is imported when it is first used, and never if the output goes into a pipe.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from worker_orchestrator.cli.signal_handling import exit_on_signals, new_threads_without_signals
from worker_orchestrator.cli.text_formats import table
from worker_orchestrator.errors import OrchestratorError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["STYLES", "console", "is_interactive", "print_table", "progress_bar", "spinner", "styled_table"]

STYLES: Final = {
    "idle": "green",
    "ready": "green",
    "assigned": "cyan",
    "starting": "yellow",
    "restarting": "yellow",
    "parked": "blue",
    "sleeping": "blue",
    "stopping": "dim",
    "failed": "red",
    "ok": "green",
    "short": "yellow",
    "short reserve": "yellow",
    "paused": "yellow",
    "retired": "dim",
    "failing": "red",
}
_SPINNER_DELAY_S: Final = 0.4
"""A shorter wait needs no spinner, and is not made longer by loading one."""
_LONG_WAIT_S: Final = 3.0
"""Who waits longer is told why, if somebody knows."""
_NO_LIMIT: Final = 10_000


def is_interactive(stream: TextIO) -> bool:
    """Whether it is a terminal for a person, and one that understands more than plain lines."""
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # it is closed
        return False


def console(stream: TextIO | None = None, *, width: int | None = None) -> Console:
    """Rich's console for this stream (standard output if None). It follows NO_COLOR by itself."""
    from rich.console import Console  # noqa: PLC0415 # see above

    return Console(file=stream or sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: with colours on a terminal, else plain. No cell is cut: the terminal wraps long lines."""
    if not is_interactive(sys.stdout):
        click.echo(table(headers, rows))
        return
    console(width=_NO_LIMIT).print(styled_table(headers, rows), no_wrap=True, crop=False, overflow="ignore")


def styled_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Rich's table, in which words such as `failed` have their colour."""
    from rich.table import Table  # noqa: PLC0415 # see above
    from rich.text import Text  # noqa: PLC0415

    styled = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in headers:
        styled.add_column(header, no_wrap=True)
    for row in rows:
        styled.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in row))
    return styled


@contextmanager
def spinner(what: str, why: Callable[[], str] = str) -> Iterator[None]:
    """A spinner on standard error of a terminal, if the block takes a while.

    If it takes long, `why` is asked once, on another thread, what is waited for. Its answer becomes a line above the
    spinner; an empty one, or an OrchestratorError, becomes none.
    """
    if not is_interactive(sys.stderr):
        yield
        return
    lock, status, over = threading.Lock(), [], False

    def begin() -> None:
        shown = console(sys.stderr).status(what)
        with lock:
            if not over:
                shown.start()
                status.append(shown)

    def explain() -> None:
        with suppress(OrchestratorError):
            answer = why()
            with lock:
                if answer and not over:
                    (status[0].console if status else console(sys.stderr)).print(answer, soft_wrap=True)

    timers = [threading.Timer(_SPINNER_DELAY_S, begin), threading.Timer(_LONG_WAIT_S, explain)]
    with new_threads_without_signals():
        for timer in timers:
            timer.daemon = True
            timer.start()
    try:
        with exit_on_signals():
            yield
    finally:
        for timer in timers:
            timer.cancel()
        with lock:
            over = True
            for shown in status:
                shown.stop()


@contextmanager
def progress_bar(what: str, total_bytes: int | None) -> Iterator[Callable[[int], Any]]:
    """A bar on standard error of a terminal: call what it yields with the number of bytes after each piece."""
    if not is_interactive(sys.stderr):
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
    with exit_on_signals(), ExitStack() as shown:
        with new_threads_without_signals():
            shown.enter_context(bar)
        task = bar.add_task(what, total=total_bytes)
        yield lambda count: bar.advance(task, count)
