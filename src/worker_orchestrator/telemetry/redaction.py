"""Environment variables as they may be shown: without what looks like a secret, by its name or by its look.

Better a harmless value too many left out than one secret shown. This keeps a secret off a screen that somebody may look at;
it is no boundary: whoever may ask here may also run `env` in the worker.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["LEFT_OUT", "without_secrets"]

LEFT_OUT: Final = "…"
LONGEST: Final = 4096
"""Characters that are looked through. What is longer is left out: nobody reads it, and looking would take its time."""
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
    """The value of this variable with `LEFT_OUT` for each secret in it; for all of it where the name says that it is one."""
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
    """A key in PEM, a UUID, or letters and digits in a mixture that is no word."""
    runs = _RUN.findall(text)
    return bool(_KEY_OR_UUID.search(text)) or any(
        re.search("[0-9]", run) and re.search("[A-Za-z]", run) for run in runs
    )


def _in_words(name: str) -> str:
    """`dbPass` and `DB_PASS` are the same name."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
