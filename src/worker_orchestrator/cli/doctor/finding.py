"""The result of one check of `orchestrator doctor`: a verdict, what was found, and the command or flag that fixes it."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Finding", "ok", "warning", "wrong"]


class Finding(msgspec.Struct, frozen=True):
    """`verdict`: ok, warning (it works, but perhaps not for long) or wrong. `fix` is empty if there is nothing to do."""

    check: str
    verdict: Literal["ok", "warning", "wrong"]
    says: str
    fix: str = ""


def ok(check: str, says: str, hint: str = "") -> Finding:
    return Finding(check, "ok", says, hint)


def warning(check: str, says: str, fix: str) -> Finding:
    return Finding(check, "warning", says, fix)


def wrong(check: str, says: str, fix: str) -> Finding:
    return Finding(check, "wrong", says, fix)
