"""The address of the service and the token to send: from arguments, the environment, or the defaults."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from worker_orchestrator.errors import InvalidSetting

__all__ = ["find_token", "find_url"]

_DEFAULT_URL: Final = "http://localhost:9092"
_VALID_TOKEN: Final = re.compile(r"[!-~]{1,4096}")


def find_url(url: str | None) -> str:
    """The base address, without a slash at its end. Raises InvalidSetting."""
    name = "ORCHESTRATOR_URL" if url is None else "url"
    text = (url if url is not None else os.environ.get("ORCHESTRATOR_URL", "")).strip() or _DEFAULT_URL
    try:
        parts = urlsplit(text)
        is_http = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        raise InvalidSetting(f"{name} is not a valid address. Use http://HOST:PORT or https://HOST:PORT.") from None
    if parts.username is not None or parts.password is not None:
        raise InvalidSetting(
            f"{name} contains a user name or a password. Pass the token in ORCHESTRATOR_TOKEN instead."
        )
    if not is_http or parts.query or parts.fragment or re.search(r"[^!-~]", text):
        raise InvalidSetting(
            f"{name} is {text!r}, which is not a valid address. Use http://HOST:PORT or https://HOST:PORT."
        )
    return text.rstrip("/")


def find_token(token: str | None) -> str | None:
    """The token; None if neither the argument nor the environment has one. Raises InvalidSetting, which never shows it."""
    if token is not None:
        return _validated(token, "token")
    if value := os.environ.get("ORCHESTRATOR_TOKEN"):
        return _validated(value, "ORCHESTRATOR_TOKEN")
    if not (path := os.environ.get("ORCHESTRATOR_TOKEN_FILE")):
        return None
    try:
        content = Path(path).read_text(encoding="latin-1")
    except OSError as error:
        raise InvalidSetting(
            f"The token file {path}, named by ORCHESTRATOR_TOKEN_FILE, cannot be read: {error.strerror}."
        ) from None
    return _validated(content.strip(), f"The content of the token file {path}")


def _validated(token: str, name: str) -> str:
    if _VALID_TOKEN.fullmatch(token):
        return token
    raise InvalidSetting(
        f"{name} is not a valid token. Use printable ASCII characters without spaces; the value is not shown."
    )
