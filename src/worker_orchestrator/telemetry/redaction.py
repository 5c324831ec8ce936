"""Environment variables as they may be shown: without values that are secret by their name or by their look.

It rather leaves out a harmless value than shows a secret. This keeps secrets off a screen that somebody else may see. It is
not a security boundary, since a caller who can ask for the variables can also run `env` in the worker.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["LEFT_OUT", "without_secrets"]

LEFT_OUT: Final = "…"
LONGEST: Final = 4096
"""Longest value, in characters, that is searched for secrets. A longer one is left out: the search would take long."""
_WORDS: Final = (
    r"pass(?:word|wd|phrase|code)?|pwd|secret|token|bearer|api_?key|access_?key|key|keys|credentials?|auth|private|"
    r"salt|cookie|session|signature|sig|jwt|pat|pin"
)
_SECRET_NAME: Final = re.compile(
    rf"(?:^|[^a-z])(?:{_WORDS})(?:[^a-z]|$)|password|passwd|passphrase|secret|token|credential|private|api_?key",
    re.IGNORECASE,
)
_HARMLESS: Final = frozenset({"PWD", "OLDPWD"})  # folders
_NAMES_A_FILE: Final = re.compile(r".*(?:_FILE|_PATH|_DIR)", re.IGNORECASE)
_ABSOLUTE_PATH: Final = re.compile(r"(?:/[\w.@-]+)+/?")
_IN_URL: Final = re.compile(r"(://[^\s/?#@:]*):\S*@")
_IN_PAIR: Final = re.compile(
    rf"""((?:^|[^a-z])(?:[\w-]{{0,40}}(?:password|passwd|secret|token|key)|{_WORDS})["']?(?:\s*[=:]\s*|\s+))(?:"[^"]*"|'[^']*'|[^\s;&,}}]+)""",
    re.IGNORECASE,
)
_KEY_OR_UUID: Final = re.compile(r"-----BEGIN|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_RUN: Final = re.compile(r"[A-Za-z0-9+=]{16,}")


def without_secrets(name: str, value: str) -> str:
    """The value with `LEFT_OUT` for each secret in it, or for all of it if the name says that it is a secret."""
    if not value or name in _HARMLESS:
        return value
    if _NAMES_A_FILE.fullmatch(name) and _ABSOLUTE_PATH.fullmatch(value):
        return value
    if len(value) > LONGEST or _SECRET_NAME.search(_in_words(name)):
        return LEFT_OUT
    shown = _IN_URL.sub(rf"\1:{LEFT_OUT}@", value)
    shown = _IN_PAIR.sub(rf"\1{LEFT_OUT}", shown)
    return LEFT_OUT if _looks_random(shown) else shown


def _looks_random(text: str) -> bool:
    """Whether it has a PEM key, a UUID, or a long run that mixes letters and digits."""
    runs = _RUN.findall(text)
    return bool(_KEY_OR_UUID.search(text)) or any(
        re.search("[0-9]", run) and re.search("[A-Za-z]", run) for run in runs
    )


def _in_words(name: str) -> str:
    """`dbPass` and `DB_PASS` are the same name."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
