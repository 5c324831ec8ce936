"""One request until it has a reply: what is sent again, when, and for how long. It moves no bytes itself."""

from __future__ import annotations

import random
import time
from itertools import count
from typing import Final

import msgspec

from worker_orchestrator.client.call_steps import NoReply, Pause, Read, Reply, Request, Send, Steps, Upload
from worker_orchestrator.client.reply_decoding import is_from_proxy, retry_after_s, unreachable

__all__ = ["FinalReply", "Service", "back_off_s", "read_piece", "send_with_retries"]

_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0
_CONNECT_S: Final = 10.0
_SHORTEST_TRY_S: Final = 0.05


class Service(msgspec.Struct, frozen=True):
    """The service that is called, and how long and how often a call is tried."""

    url: str
    timeout_s: float
    retries: int


class FinalReply(msgspec.Struct, frozen=True):
    """The reply to the last try. `earlier_reply_lost`: an earlier try may have been carried out, without a reply."""

    reply: Reply
    earlier_reply_lost: bool


def back_off_s(failures: int) -> float:
    """Twice as long after each failure, and at random, so that many clients do not come back at the same moment."""
    return min(_FIRST_PAUSE_S * 2.0 ** min(failures, 16), _LONGEST_PAUSE_S) * random.uniform(0.5, 1)  # noqa: S311


def send_with_retries(
    request: Request, service: Service, *, streamed: bool = False, silence_s: float | None = -1
) -> Steps[FinalReply]:
    """Send the request until a reply arrives that a further try would not change. Raises ServiceUnreachable.

    After a 503 the pause is as long as its Retry-After says, after a lost connection it grows from try to try. There are at
    most `retries` further tries, none after the deadline, and after a lost connection only where sending twice does no harm.
    Where the deadline ends a try that followed a 503, the result is that 503: the service is there, and was still busy.
    """
    start_s = time.monotonic()
    deadline = start_s + service.timeout_s + request.takes_s
    busy_deadline = deadline if request.waits_s is None else min(deadline, start_s + request.waits_s)
    earlier_reply_lost, busy_reply = False, None
    for failures in count():
        left_s = max(deadline - time.monotonic(), _SHORTEST_TRY_S)
        quiet_s = left_s if silence_s == -1 else silence_s
        result = yield Send(request=request, connect_s=min(left_s, _CONNECT_S), silence_s=quiet_s, streamed=streamed)
        assert isinstance(result, (Reply, NoReply)), result
        pause_s = _pause_s(result, request, failures)
        until = busy_deadline if isinstance(result, Reply) and not is_from_proxy(result) else deadline
        if pause_s is None or failures >= service.retries or time.monotonic() + pause_s > until:
            if isinstance(result, Reply):
                return FinalReply(result, earlier_reply_lost)
            if busy_reply is not None and time.monotonic() >= deadline:
                return FinalReply(busy_reply, earlier_reply_lost)
            raise unreachable(result, service.url)
        if isinstance(result, Reply) and not is_from_proxy(result):
            busy_reply = result
        earlier_reply_lost = earlier_reply_lost or _may_have_arrived(result)
        yield Pause(pause_s)
        request = _with_time_left(request, start_s)
    raise AssertionError("counting ended")


def _with_time_left(request: Request, start_s: float) -> Request:
    """The request of the next try, so that all tries together wait no longer than the first one was to wait."""
    if request.waits_s is None or request.body_for is None:
        return request
    left_s = max(request.waits_s - (time.monotonic() - start_s), 0.0)
    return msgspec.structs.replace(request, body=request.body_for(round(left_s, 3)))


def _pause_s(result: Reply | NoReply, request: Request, failures: int) -> float | None:
    """How long to wait before the next try; None if there must be no further try."""
    if isinstance(result, NoReply):
        again = not result.hopeless and (request.repeatable or not result.sent)
        return back_off_s(failures) if again else None
    if is_from_proxy(result):
        return (retry_after_s(result) or back_off_s(failures)) if request.repeatable else None
    is_safe = request.method != "POST" or request.repeatable
    again = result.status == 503 and is_safe and not _is_used_up(request)
    return retry_after_s(result) if again else None


def _is_used_up(request: Request) -> bool:
    """Whether the body was read from what cannot seek, and so cannot be sent a second time."""
    return isinstance(request.body, Upload) and request.body.size is None


def _may_have_arrived(result: Reply | NoReply) -> bool:
    return result.sent if isinstance(result, NoReply) else is_from_proxy(result)


def read_piece() -> Steps[bytes | NoReply]:
    """The next bytes of a streamed reply; none at its end."""
    piece = yield Read()
    assert isinstance(piece, (bytes, NoReply)), piece
    return piece
