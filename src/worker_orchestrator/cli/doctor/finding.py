"""What `orchestrator doctor` says of one thing: whether it is right, what it is, and a command or a flag that mends it."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Finding", "bad", "good", "odd"]


class Finding(msgspec.Struct, frozen=True):
    """`verdict`: ok, warning (it works, and may not for long) or wrong. `fix` is empty where nothing need be done."""

    check: str
    verdict: Literal["ok", "warning", "wrong"]
    says: str
    fix: str = ""


def good(check: str, says: str, hint: str = "") -> Finding:
    return Finding(check, "ok", says, hint)


def odd(check: str, says: str, fix: str) -> Finding:
    return Finding(check, "warning", says, fix)


def bad(check: str, says: str, fix: str) -> Finding:
    return Finding(check, "wrong", says, fix)
