"""Parsers of settings, for what a flag, a variable or a TOML value holds.

Each returns the value, or raises ValueError with what is allowed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from worker_orchestrator.core.demand import LEAST_TARGET, MOST_TARGET

__all__ = [
    "as_bytes", "capabilities", "duration", "environment", "hit_ratio", "host_name", "host_names", "image", "local_address",
    "network_name", "number", "one_of", "origins", "path", "processors", "seconds", "share", "size", "text", "url_path",
    "user", "variable_name", "web_url", "yes_no",
]  # fmt: skip

_UNFIT: Final = re.compile(r"[\0\ud800-\udfff]")
"""NUL, and what bytes that are not UTF-8 are decoded to: Docker would pass on something else."""
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_NAME_IN_URLS: Final = re.compile(r"(?:[\w-]+\.)*(?!\d+\.?$)[\w-]+\.?", re.ASCII)
"""Browsers and other programs take a name that ends in a number for an IPv4 address."""
_ORIGIN: Final = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?/?", re.ASCII)
_UNITS: Final = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4, "p": 1024**5}
_SIZE: Final = re.compile(r"(\d{1,12}(?:\.\d{1,9})?) ?(?:([kmgtp])(?:i?b)?|b)?", re.ASCII)
"""As the docker command reads sizes: 512m, 1.5g and 2 GiB."""
_DURATION: Final = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII)
_DURATION_UNITS_S: Final = (86_400, 3600, 60, 1)
_SHARE: Final = re.compile(r"(\d{1,4}(?:\.\d{1,9})?)( ?%)?", re.ASCII)
_SHOWN: Final = 64
_YES: Final = frozenset({"true", "yes", "on", "1"})
_NO: Final = frozenset({"false", "no", "off", "0"})
_GRANTED: Final = (
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
)  # fmt: skip
"""What Docker gives a container by default."""
_NEVER_GRANTED: Final = frozenset({
    "AUDIT_CONTROL", "AUDIT_READ", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "DAC_READ_SEARCH", "IPC_LOCK",
    "IPC_OWNER", "LEASE", "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "NET_ADMIN", "NET_BROADCAST", "PERFMON",
    "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE",
    "SYS_TIME", "SYS_TTY_CONFIG", "WAKE_ALARM",
})  # fmt: skip
"""What a container lacks anyway. Such a name is accepted and has no effect: lists made for all containers contain some."""


def _as_text(value: Any) -> str:
    """A text or a number as it would be written; empty for anything else, and for a number that is far too long."""
    if isinstance(value, bool) or (isinstance(value, int) and value.bit_length() > 64):
        return ""
    return str(value).strip() if isinstance(value, str | int | float) else ""


def text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("text that is not empty")
    if not value.strip().isprintable():
        raise ValueError("text of printable characters")
    return value.strip()


def image(value: Any) -> str:
    """Refuses only what no engine accepts as an image's name. The engine judges the rest."""
    said = text(value)
    name = re.split("[:@]", said.rpartition("/")[2])[0]
    if re.search(r"\s|://", said) or name != name.lower():
        raise ValueError("an image's name, such as my/worker:latest, in lower case and without spaces or https://")
    return said


def one_of(*allowed: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value in allowed:
            return str(value)
        raise ValueError("one of " + ", ".join(allowed))

    return parse


def number(low: int, high: int | None) -> Callable[[Any], int]:
    said = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"

    def parse(value: Any) -> int:
        text = _as_text(value)
        if re.fullmatch(r"\d{1,9}", text, re.ASCII) and low <= int(text) and (high is None or int(text) <= high):
            return int(text)
        raise ValueError(said)

    return parse


def seconds(low: float, high: float) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        text = _as_text(value)
        if re.fullmatch(r"\d{1,9}(\.\d+)?", text, re.ASCII) and low <= float(text) <= high:
            return float(text)
        raise ValueError(f"a number of seconds from {low:g} to {high:g}")

    return parse


def duration(low: int, high: int) -> Callable[[Any], int]:
    """Seconds from a number of them, or from what people write, such as 15m, 10h or 1h30m; the limits are seconds."""
    said = f"a duration such as 15m, 10h or 1h30m, or a number of seconds, from {low} s to {high // 86_400} days"

    def parse(value: Any) -> int:
        text = _as_text(value).lower()
        match = _DURATION.fullmatch(f"{text}s" if text.isdigit() else text)
        if match is not None and text:
            parsed = sum(int(count) * unit for count, unit in zip(match.groups("0"), _DURATION_UNITS_S, strict=True))
            if low <= parsed <= high:
                return parsed
        raise ValueError(said)

    return parse


def share(value: Any) -> float:
    """From 25% or 0.25."""
    match = _SHARE.fullmatch(_as_text(value))
    if match is not None:
        parsed = float(match[1]) / (100 if match[2] else 1)
        if parsed <= 10:
            return parsed
    raise ValueError("a share such as 25% or 0.25, from 0 to 1000%")


def hit_ratio(value: Any) -> float:
    """From 0.99 or 99%."""
    match = _SHARE.fullmatch(_as_text(value))
    parsed = 0.0 if match is None else round(float(match[1]) / (100 if match[2] else 1), 9)
    if LEAST_TARGET <= parsed <= MOST_TARGET:
        return parsed
    raise ValueError(f"a share from {LEAST_TARGET} to {MOST_TARGET}, such as 0.99 or 99%")


def path(value: Any) -> Path:
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise ValueError("a path")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError("a path whose home folder exists") from None


def url_path(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"/[!-~]*", value):
        return value
    raise ValueError("a path that begins with / and has no spaces")


def web_url(value: Any) -> str:
    """Of a server that is to be called: without a fragment, which is not sent."""
    said = value.strip() if isinstance(value, str) else ""
    try:
        parts = urlsplit(said)
        is_web = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        if is_web and re.fullmatch(r"[!\"$-~]{1,2048}", said):
            return said
    except ValueError:  # its port or its IPv6 address
        pass
    raise ValueError("a URL that begins with https:// or http://, such as https://app.example.com/hooks/machines")


def local_address(value: Any) -> str:
    """localhost, gateway, or an IP address without a zone: Docker takes any other text to mean all addresses."""
    said = value.strip().lower() if isinstance(value, str) else ""
    if said in {"localhost", "gateway"}:
        return said
    try:
        return str(ipaddress.ip_address("" if "%" in said else said))
    except ValueError:
        raise ValueError("localhost, gateway or an IP address of this computer, such as 127.0.0.1") from None


def host_name(value: Any) -> str:
    """A name, or an IP address without a zone. Brackets are removed, since URLs add them later."""
    said = value.strip() if isinstance(value, str) else ""
    if _NAME_IN_URLS.fullmatch(said):
        return said
    bare = said[1:-1] if re.fullmatch(r"\[.*:.*\]", said) else said
    try:
        return str(ipaddress.ip_address("" if "%" in bare else bare))
    except ValueError:
        raise ValueError("a host name or an IP address, without http:// and a port, such as my-host") from None


def host_names(value: Any) -> tuple[str, ...]:
    return _each(value, _is_host_name, "a name or an IP address without a port, such as my-host")


def origins(value: Any) -> tuple[str, ...]:
    return _each(value, _ORIGIN.fullmatch, "a web origin with its scheme, such as https://app.example.com")


def _each(value: Any, is_right: Callable[[str], object], allowed: str) -> tuple[str, ...]:
    """From a list or, in a variable, a text with commas."""
    items = value.split(",") if isinstance(value, str) else value
    if isinstance(items, list | tuple) and all(isinstance(item, str) and is_right(item.strip()) for item in items):
        return tuple(item.strip() for item in items)
    raise ValueError(allowed)


def _is_host_name(text: str) -> bool:
    try:
        return bool(_HOST_NAME.fullmatch(text) or ipaddress.ip_address(text))
    except ValueError:
        return False


def environment(value: Any) -> Mapping[str, str]:
    """From a TOML table, a list of K=V or, in a variable, lines of K=V: a value may contain commas.

    A name may be anything that Docker accepts, such as discovery.type. A message names the entry that is wrong, never its
    value, which may be a secret. An entry without "=" is not shown at all, since it may be a name or a value.
    """
    if isinstance(value, str):
        value = [line for line in value.splitlines() if line.strip()]
    if isinstance(value, Mapping):
        value = [_pair(name, text) for name, text in value.items()]
    pairs: dict[str, str] = {}
    for item in value if isinstance(value, list | tuple) else (None,):
        if not isinstance(item, str):
            raise ValueError("NAME=value")  # noqa: TRY004 # as every parser
        name, equals, text = item.partition("=")
        if not equals:
            raise ValueError('NAME=value: one entry has no "=". It is not shown, since it may be a secret')
        pairs[variable_name(name)] = _fit(name, text)
    return pairs


def variable_name(name: str) -> str:
    """The name of a variable, as Docker accepts it: UTF-8 without "=" and NUL. Raises ValueError, which shows the name."""
    if not name:
        raise ValueError('NAME=value: one entry has no name before its "="')
    if "=" in name or _UNFIT.search(name):
        raise ValueError(f'NAME=value: a name is UTF-8 without "=" and NUL, but one is {name[:_SHOWN]!r}')
    return name


def _fit(name: str, text: str) -> str:
    if _UNFIT.search(text):
        raise ValueError(f"NAME=value: a value is UTF-8 without NUL, but that of {name[:_SHOWN]!r} is not")
    return text


def _pair(name: str, value: Any) -> str:
    """NAME=value from an entry of a TOML table."""
    text = value if isinstance(value, str) else _as_text(value)
    if not text and value != "":
        raise ValueError(f"NAME=value: a value is a text or a number, but that of {name[:_SHOWN]!r} is neither")
    return f"{variable_name(name)}={text}"


def yes_no(value: Any) -> bool:
    """A flag that is given is true; a file says true or false, a variable has words for it."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in _YES or word in _NO:
        return word in _YES
    raise ValueError("yes or no")


def size(least: str, *, zero: bool = False) -> Callable[[Any], str]:
    """A number of bytes with a unit, kept as it was written; `zero`: 0 is allowed as well."""

    def parse(value: Any) -> str:
        text = _as_text(value).lower()
        if _SIZE.fullmatch(text) and (as_bytes(text) >= as_bytes(least) or (zero and as_bytes(text) == 0)):
            return text
        raise ValueError(f"a size such as 512m or 2g, of at least {least}" + (", or 0" if zero else ""))

    return parse


def as_bytes(text: str) -> int:
    """The number of bytes in a size; 0 for an empty text. 1k is 1024."""
    match = _SIZE.fullmatch(text)
    return int(Decimal(match[1]) * _UNITS[match[2] or ""]) if match else 0


def processors(value: Any) -> float:
    text = _as_text(value)
    if re.fullmatch(r"(?=\.?\d)\d{0,4}(\.\d{0,9})?", text, re.ASCII) and float(text) >= 0.01:
        return float(text)
    raise ValueError("a number of processors of at least 0.01, such as 1.5")


def capabilities(value: Any) -> tuple[str, ...]:
    """In a fixed order, without the prefix CAP_ and what workers lack anyway, so that equal choices give equal templates."""
    items = value.split(",") if isinstance(value, str) else value
    names: set[str] = set()
    for item in items if isinstance(items, list | tuple) else (None,):
        name = item.strip().upper().removeprefix("CAP_") if isinstance(item, str) else ""
        if name not in {"ALL", *_GRANTED, *_NEVER_GRANTED}:
            raise ValueError("ALL, or one of those that Docker grants: " + ", ".join(_GRANTED))
        names.add(name)
    return ("ALL",) if "ALL" in names else tuple(sorted(names - _NEVER_GRANTED))


def user(value: Any) -> str:
    text = _as_text(value)
    if text.isprintable() and re.fullmatch(r"[^\s:]{1,256}(:[^\s:]{1,256})?", text):
        return text
    raise ValueError("a user's name or number, optionally followed by :group")


def network_name(value: Any) -> str:
    """Docker accepts any text as a network's name, but container:ID means something else, and a path is not a name."""
    said = value.strip() if isinstance(value, str) else ""
    if said.isprintable() and re.fullmatch(r"[^-./:?#%\\][^/:?#%\\]{0,127}", said):
        return said
    raise ValueError("a network's name, without / : ? # % and \\")
