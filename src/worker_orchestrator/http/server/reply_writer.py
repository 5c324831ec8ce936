"""A whole reply of HTTP/1.1 as bytes, to be sent in one write."""

from __future__ import annotations

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from worker_orchestrator.http.reply import EVERY, JSON, NO_CONTENT, Header, Reply, fields_of

__all__ = ["ReplyWriter"]


class ReplyWriter:
    """Puts replies into bytes. Those of one second begin alike, down to the date: that part is put together once."""

    def __init__(self) -> None:
        self._always: Iterable[Header] = ()
        self._heads: dict[int, str] = {}  # by status, of what is JSON

    def encode_reply(self, reply: Reply, more: str, always: Iterable[Header], *, keep_alive: bool) -> bytes:
        """A whole reply, with these header fields (`more`) and headers (`always`, the server's own) beside its own."""
        if always is not self._always:
            self._always, self._heads = always, {}
        body = reply.body if isinstance(reply.body, bytes) else reply.encoded()
        if reply.headers or not keep_alive or reply.content_type is not JSON or reply.status == NO_CONTENT:
            last = "" if keep_alive else "connection: close\r\n"
            return (
                f"{self._start(reply.status)}{more}{fields_of(reply.head(body, []))}{last}\r\n".encode("latin-1") + body
            )
        head = self._heads.get(reply.status) or self._json_head(reply.status)
        return f"{head}{more}content-length: {len(body)}\r\n\r\n".encode("latin-1") + body

    def encode_last(self, reply: Reply, always: Iterable[Header]) -> bytes:
        """The last reply of a connection."""
        return self.encode_reply(reply, "", always, keep_alive=False)

    def _json_head(self, status: int) -> str:
        head = self._heads[status] = f"{self._start(status)}{fields_of([*EVERY, (b'content-type', JSON)])}"
        return head

    def _start(self, status: int) -> str:
        return f"{STATUS_LINE[status].decode()}{fields_of(self._always)}"
