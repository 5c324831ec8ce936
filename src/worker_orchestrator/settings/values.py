"""One value of a setting as it was given: read and checked, or refused in one sentence that keeps secrets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings.setting import Setting

__all__ = ["Value", "parsed", "suggestion", "without_password"]

_USER_OF_URL: Final = re.compile(r"//[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class Value:
    """A checked value, and where it came from: its flag, its variable, or its key and file."""

    value: Any
    source: str


def parsed(setting: Setting, raw: Any, source: str, place: Callable[[], str] | None = None) -> Value:
    """The value of a setting. `place` says more exactly where it stands than `source`. Raises InvalidSetting."""
    try:
        return Value(setting.parse(raw), source)
    except ValueError as error:
        where = source if place is None else place()
        raise InvalidSetting(f"{where} {_wrong(setting, raw)}, but must be {error}.") from None


def suggestion(name: str, names: Iterable[str], what: str, shown: Callable[[str], str] = str) -> str:
    """A sentence with the name that is closest, or with all. `shown`: a name as the operator writes it."""
    import difflib  # noqa: PLC0415 # needed only here, and slow to import

    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {shown(close[0])}?" if close else f"The {what} are: {', '.join(map(shown, known))}."


def without_password(text: str) -> str:
    """Hides the user parts of URLs, which may contain a password."""
    return _USER_OF_URL.sub("//***@", text)


def _wrong(setting: Setting, raw: Any) -> str:
    """What is wrong with a value. A secret, or what may be one, is not repeated."""
    if setting.secret:
        return "is not shown here"
    if setting.name == "env":
        return "has an entry that is not allowed"
    if setting.repeatable and isinstance(raw, list):
        raw = next((item for item in raw if not _is_right(setting, [item])), raw)
    try:
        return f"is {without_password(repr(raw))}"
    except ValueError:
        return "is a number with more digits than Python shows"


def _is_right(setting: Setting, raw: Any) -> bool:
    try:
        setting.parse(raw)
    except ValueError:
        return False
    return True
