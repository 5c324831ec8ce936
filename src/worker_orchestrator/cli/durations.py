"""Options of commands that are durations, such as `2h`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["seconds_of"]


def seconds_of(least_s: int, most_s: int) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """What an option calls for its value: whole seconds, so many at least and at most; None where it is not given."""

    def parse(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
        if value is None:
            return None
        from worker_orchestrator.settings.parsers import duration  # noqa: PLC0415 # few give one

        try:
            return duration(least_s, most_s)(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r} must be {error}.") from None

    return parse
