"""The path under which a proxy shows the service, where the proxy passes it on: it is taken off before anybody looks.

A proxy that takes it off itself works as well: what does not begin with it stays as it is. Only the path alone, without a
slash behind it, could then be meant as a project's id. It is always answered with the way to the dashboard: from there the
links of its page would lead elsewhere.
"""

from __future__ import annotations

from typing import Any

from worker_orchestrator.http.reply import Reply
from worker_orchestrator.http.server.handing_over import HandingProtocol
from worker_orchestrator.http.server.incoming_message import StopReadingError
from worker_orchestrator.http.server.protocol import BoundedProtocol

__all__ = ["PrefixedHandingProtocol", "PrefixedProtocol"]


class PrefixedProtocol(BoundedProtocol):
    """As `BoundedProtocol`, under `root_path`, such as /pool."""

    def __init__(self, *args: Any, root_path: str, **words: Any) -> None:
        super().__init__(*args, **words)
        self._root = root_path.encode("ascii")
        self._below = self._root + b"/"

    def _takes_short_request(self, data: bytes) -> bool:
        method, blank, rest = data.partition(b" ")
        if rest.startswith(self._below):
            data = method + blank + rest[len(self._root) :]
        elif rest.startswith(self._root + b" "):
            return False
        return super()._takes_short_request(data)

    def on_headers_complete(self) -> None:
        path, mark, query = self.url.partition(b"?")
        if path == self._root:
            self._refuse(Reply(308, None, [(b"location", self._below + mark + query)]))
            raise StopReadingError
        if path.startswith(self._below):
            self.url = self.url[len(self._root) :]
        super().on_headers_complete()


class PrefixedHandingProtocol(HandingProtocol, PrefixedProtocol):
    """As `HandingProtocol`. Paths of previews are those of their workers, whatever they begin with."""
