"""The JSON shapes of /v1/keys."""

from __future__ import annotations

from datetime import datetime

import msgspec

__all__ = ["Key", "KeyBody", "Keys", "NewKey"]


class KeyBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What a new key may do. No `pools`: all. No `max_machines`: no limit of its own. No `may`: everything."""

    name: str
    pools: list[str] = []
    max_machines: int | None = None
    may: list[str] | None = None


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its value. `machines`: how many its projects have or wait for now. `used_at`: None if it never was."""

    name: str
    pools: list[str]
    max_machines: int | None
    may: list[str]
    machines: int
    created_at: datetime
    used_at: datetime | None


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was just made, and its `value`, which is told only now. `note`: what it does not restrict here."""

    key: Key
    value: str
    note: str | None = None


class Keys(msgspec.Struct, frozen=True):
    """All keys, by name."""

    keys: list[Key]
