"""Where the service is and what it is told to let us in: arguments, else the environment, else this computer."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from worker_orchestrator.errors import InvalidSetting

__all__ = ["find_token", "find_url", "socket_options"]

_HERE: Final = "http://localhost:9092"
_FIT: Final = re.compile(r"[!-~]{1,4096}")
_DEAD_AFTER: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


def find_url(given: str | None) -> str:
    """The base address, without a slash at its end. Raises InvalidSetting."""
    name = "ORCHESTRATOR_URL" if given is None else "url"
    text = (given if given is not None else os.environ.get("ORCHESTRATOR_URL", "")).strip() or _HERE
    try:
        parts = urlsplit(text)
        fit = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        raise InvalidSetting(f"{name} is no address: use http://HOST:PORT or https://HOST:PORT.") from None
    if parts.username is not None or parts.password is not None:
        raise InvalidSetting(f"{name} holds a user name or password: give the token by ORCHESTRATOR_TOKEN instead.")
    if not fit or parts.query or parts.fragment or re.search(r"[^!-~]", text):
        raise InvalidSetting(f"{name} is {text!r}, which is no address: use http://HOST:PORT or https://HOST:PORT.")
    return text.rstrip("/")


def find_token(given: str | None) -> str | None:
    """The token, if there is one anywhere. Raises InvalidSetting, which never shows it."""
    if given is not None:
        return _checked(given, "token")
    if value := os.environ.get("ORCHESTRATOR_TOKEN"):
        return _checked(value, "ORCHESTRATOR_TOKEN")
    if not (path := os.environ.get("ORCHESTRATOR_TOKEN_FILE")):
        return None
    try:
        content = Path(path).read_text(encoding="latin-1")
    except OSError as error:
        raise InvalidSetting(
            f"The token file {path} of ORCHESTRATOR_TOKEN_FILE cannot be read: {error.strerror}."
        ) from None
    return _checked(content.strip(), f"The content of the token file {path}")


def _checked(token: str, name: str) -> str:
    if _FIT.fullmatch(token):
        return token
    raise InvalidSetting(f"{name} is not shown here, but must be printable ASCII characters without spaces.")


def socket_options() -> list[tuple[int, int, int]]:
    """So that a peer that vanished is noticed within a minute, also where nobody writes."""
    known = [(getattr(socket, name), value) for name, value in _DEAD_AFTER if hasattr(socket, name)]
    return [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        *((socket.IPPROTO_TCP, option, value) for option, value in known),
    ]
