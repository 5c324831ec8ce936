"""The option `-o`, by which a command is told how to print its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["output_option"]


def output_option(*formats: str) -> Callable[[Any], Any]:
    """-o with these formats, the first of which is the default."""
    text = f"How to print it. [{formats[0]}]"
    return click.option("-o", "--output", type=click.Choice(formats), default=formats[0], help=text)
