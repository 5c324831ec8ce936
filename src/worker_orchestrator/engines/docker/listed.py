"""One element of Docker's list of containers, as far as anything here reads it, and how the list is read.

A list has some five kilobytes for each container. Of 300 containers it is read every few seconds, so what nobody asks for is
skipped while it is decoded and never becomes an object: that takes a third of the memory, and less time on the event loop.

Source: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerList. A field that an
engine leaves out is left out here too.
"""

from __future__ import annotations

from typing import Any, Final, TypedDict

import msgspec

__all__ = ["Listed", "containers_in"]


class _Network(TypedDict, total=False):
    NetworkID: str
    IPAddress: str | None


class _NetworkSettings(TypedDict, total=False):
    Networks: dict[str, _Network | None] | None


class _HostConfig(TypedDict, total=False):
    NetworkMode: str


class _Port(TypedDict, total=False):
    IP: str
    PrivatePort: Any
    PublicPort: int


class Listed(TypedDict, total=False):
    Id: str
    Names: list[str] | None
    ImageID: str
    Labels: dict[str, str]
    State: str
    Status: str
    HostConfig: _HostConfig
    NetworkSettings: _NetworkSettings | None
    Ports: list[_Port] | None


_decoder: Final = msgspec.json.Decoder(list[Listed])


def containers_in(body: bytes) -> list[Listed]:
    """The elements of the list in this reply. Raises msgspec.DecodeError for a reply of another shape."""
    return _decoder.decode(body)
