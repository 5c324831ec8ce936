"""The messages of E2B's agent, as its protobuf definitions become JSON: camelCase, bytes in base64, enums by name."""

from __future__ import annotations

import msgspec

__all__ = [
    "Config",
    "Empty",
    "Input",
    "InputRequest",
    "InputStep",
    "ListDirRequest",
    "MoveRequest",
    "PathRequest",
    "Pty",
    "Selector",
    "SelectorRequest",
    "SignalRequest",
    "Size",
    "StartRequest",
    "UpdateRequest",
    "WatchRequest",
    "WatcherRequest",
]


class Empty(msgspec.Struct):
    pass


class Config(msgspec.Struct, omit_defaults=True):
    """What a process runs. `cwd` is where; empty: where the image says."""

    cmd: str = ""
    args: list[str] = []
    envs: dict[str, str] = {}
    cwd: str | None = None


class Size(msgspec.Struct):
    cols: int = 0
    rows: int = 0


class Pty(msgspec.Struct):
    size: Size | None = None


class StartRequest(msgspec.Struct):
    process: Config = msgspec.field(default_factory=Config)
    pty: Pty | None = None
    tag: str | None = None
    stdin: bool | None = None


class Selector(msgspec.Struct):
    pid: int | None = None
    tag: str | None = None


class SelectorRequest(msgspec.Struct):
    process: Selector = msgspec.field(default_factory=Selector)


class Input(msgspec.Struct):
    stdin: bytes | None = None
    pty: bytes | None = None


class InputRequest(msgspec.Struct):
    process: Selector = msgspec.field(default_factory=Selector)
    input: Input = msgspec.field(default_factory=Input)


class InputStart(msgspec.Struct):
    process: Selector = msgspec.field(default_factory=Selector)


class InputData(msgspec.Struct):
    input: Input = msgspec.field(default_factory=Input)


class InputStep(msgspec.Struct):
    """One message of a stream of input: first which process, then what it is to read."""

    start: InputStart | None = None
    data: InputData | None = None


class SignalRequest(msgspec.Struct):
    process: Selector = msgspec.field(default_factory=Selector)
    signal: str = ""


class UpdateRequest(msgspec.Struct):
    process: Selector = msgspec.field(default_factory=Selector)
    pty: Pty | None = None


class PathRequest(msgspec.Struct):
    path: str = ""


class ListDirRequest(msgspec.Struct):
    path: str = ""
    depth: int = 1


class MoveRequest(msgspec.Struct):
    source: str = ""
    destination: str = ""


class WatchRequest(msgspec.Struct):
    """A network file system is looked at as any other is, so `allowNetworkMounts` needs no answer."""

    path: str = ""
    recursive: bool = False
    includeEntry: bool = False  # noqa: N815 # the name is E2B's


class WatcherRequest(msgspec.Struct):
    watcherId: str = ""  # noqa: N815 # as above
