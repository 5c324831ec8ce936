"""Imports without what others load merely because it is there."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

__all__ = ["without"]


@contextlib.contextmanager
def without(package: str) -> Iterator[None]:
    """While this is open, the package counts as not installed, unless it has been loaded before."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment] # so an import fails, as Python documents it
    try:
        yield
    finally:
        del sys.modules[package]
