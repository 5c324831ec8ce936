"""The output of a command out of the lines of a streamed reply, or out of the one reply of a service that cannot stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from worker_orchestrator.client.call_steps import Emit, Flow, NoReply, Reply
from worker_orchestrator.client.reply_decoding import decode_reply, unreachable
from worker_orchestrator.client.retries import FinalReply, read_piece
from worker_orchestrator.errors import CallFailed, OrchestratorError, ServiceUnreachable
from worker_orchestrator.wire.v1 import ExecEnd, ExecOutput, ExecResult, Problem

__all__ = ["JSON_LINES", "streamed_output"]

JSON_LINES: Final = "application/jsonl"


class _Line(msgspec.Struct):
    """Any line: it has the keys of one of ExecOutput, ExecEnd and ExecError, and a later version may send others."""

    stream: str = ""
    text: str = ""
    exit_code: int | msgspec.UnsetType | None = msgspec.UNSET
    truncated: bool = False
    error: Problem | None = None


def streamed_output(
    final: FinalReply, url: str, error_of: Callable[[FinalReply], OrchestratorError | None]
) -> Flow[ExecOutput | ExecEnd]:
    """Each piece of output as it comes, and then the end.

    Raises ServiceUnreachable if the stream breaks off, CallFailed, and what the last line says. `error_of` makes an error of
    that.
    """
    if not final.reply.headers.get("content-type", "").startswith(JSON_LINES):
        yield from _whole_output(final.reply, url)
        return
    rest = b""
    while piece := (yield from read_piece()):
        if isinstance(piece, NoReply):
            raise _broken_off(url, piece.reason)
        *lines, rest = (rest + piece).split(b"\n")
        for line in map(_decoded(url), lines):
            if line.error is not None:
                raise error_of(_as_reply(line.error)) or CallFailed(line.error.detail)
            if line.exit_code is not msgspec.UNSET:
                yield Emit(ExecEnd(exit_code=line.exit_code, truncated=line.truncated))
                return
            if line.text:
                yield Emit(ExecOutput(stream=line.stream, text=line.text))
    raise _broken_off(url, "it closed the connection")


def _whole_output(reply: Reply, url: str) -> Flow[ExecOutput | ExecEnd]:
    """What a service says that does not know streams: it has run the command all the same."""
    body = bytearray()
    while piece := (yield from read_piece()):
        if isinstance(piece, NoReply):
            raise unreachable(piece, url)
        body += piece
    result = decode_reply(msgspec.structs.replace(reply, body=bytes(body)), ExecResult, url)
    for stream, text in (("stdout", result.stdout), ("stderr", result.stderr)):
        if text:
            yield Emit(ExecOutput(stream=stream, text=text))
    yield Emit(ExecEnd(exit_code=result.exit_code, truncated=result.truncated))


def _decoded(url: str) -> Callable[[bytes], _Line]:
    def decode(line: bytes) -> _Line:
        try:
            return msgspec.json.decode(line, type=_Line) if line.strip() else _Line()
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise CallFailed(f"The service at {url} has another version than this client: {error}.") from None

    return decode


def _as_reply(problem: Problem) -> FinalReply:
    """The reply by which the service would have said this, had it known before the reply began."""
    headers = {"content-type": "application/problem+json"}
    reply = Reply(status=problem.status, headers=headers, body=msgspec.json.encode(problem))
    return FinalReply(reply, earlier_reply_lost=False)


def _broken_off(url: str, reason: str) -> ServiceUnreachable:
    return ServiceUnreachable(
        f"The service at {url} broke off the output of the command: {reason}. A command whose caller is gone is ended."
    )
