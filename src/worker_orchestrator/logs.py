"""Log lines: for people on a terminal, or one JSON object a line."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TextIO

import structlog

__all__ = ["configure"]


def configure(log_format: str) -> None:
    """Send every line to standard error, in this format (console | json)."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=log_format == "json"),
        _without_nothing,
    ]
    if log_format == "json":
        shared += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        # The pretty formatters of tracebacks show local variables, and so whatever secret a request carries.
        shared.append(
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), pad_event_to=12, exception_formatter=structlog.dev.plain_traceback
            ),
        )
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(_Unstoppable(sys.stderr)),  # type: ignore[arg-type] # all it needs
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s")


class _Unstoppable:
    """A stream whose reader may go away, or whose disk may be full: what cannot be told must not stop what is done."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def _without_nothing(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return {key: value for key, value in event.items() if value is not None}
