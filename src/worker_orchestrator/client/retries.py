"""One request until it is answered: what is tried again, when, and for how long. It moves no bytes itself."""

from __future__ import annotations

import random
import time
from itertools import count
from typing import Final

import msgspec

from worker_orchestrator.client.call_steps import Lost, Pause, Read, Reply, Request, Send, Steps, Upload
from worker_orchestrator.client.reply_decoding import is_away, retry_after_s, unreachable

__all__ = ["Answer", "Service", "back_off_s", "exchange", "read"]

_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0
_CONNECT_S: Final = 10.0
_LEAST_S: Final = 0.05


class Service(msgspec.Struct, frozen=True):
    """Whom we call, and how patiently."""

    url: str
    timeout_s: float
    retries: int


class Answer(msgspec.Struct, frozen=True):
    """`lost_before`: an earlier try may have arrived although nothing came back."""

    reply: Reply
    lost_before: bool


def back_off_s(failures: int) -> float:
    """Longer each time, and not for all clients alike."""
    return min(_FIRST_PAUSE_S * 2.0 ** min(failures, 16), _LONGEST_PAUSE_S) * random.uniform(0.5, 1)  # noqa: S311


def exchange(
    request: Request, service: Service, *, streamed: bool = False, silence_s: float | None = -1
) -> Steps[Answer]:
    """The first answer worth having. Raises ServiceUnreachable.

    A 503 is answered by waiting as long as its Retry-After says, a lost connection by a back-off; neither beyond the
    deadline nor more often than `retries`, and a lost one only where asking twice does no harm. Where the deadline ends a
    try that followed a 503, that is the answer: the service is there, and was still busy.
    """
    begun = time.monotonic()
    deadline = begun + service.timeout_s + request.takes_s
    patient_until = deadline if request.waits_s is None else min(deadline, begun + request.waits_s)
    lost_before, busy = False, None
    for failures in count():
        left_s = max(deadline - time.monotonic(), _LEAST_S)
        quiet_s = left_s if silence_s == -1 else silence_s
        came = yield Send(request=request, connect_s=min(left_s, _CONNECT_S), silence_s=quiet_s, streamed=streamed)
        assert isinstance(came, (Reply, Lost)), came
        pause_s = _pause_s(came, request, failures)
        until = patient_until if isinstance(came, Reply) and not is_away(came) else deadline
        if pause_s is None or failures >= service.retries or time.monotonic() + pause_s > until:
            if isinstance(came, Reply):
                return Answer(came, lost_before)
            if busy is not None and time.monotonic() >= deadline:
                return Answer(busy, lost_before)
            raise unreachable(came, service.url)
        if isinstance(came, Reply) and not is_away(came):
            busy = came
        lost_before = lost_before or _may_have_arrived(came)
        yield Pause(pause_s)
        request = _with_what_is_left(request, begun)
    raise AssertionError("counting ended")


def _with_what_is_left(request: Request, begun: float) -> Request:
    """So that the tries together wait no longer than the first one was asked to."""
    if request.waits_s is None or request.body_in is None:
        return request
    left_s = max(request.waits_s - (time.monotonic() - begun), 0.0)
    return msgspec.structs.replace(request, body=request.body_in(round(left_s, 3)))


def _pause_s(came: Reply | Lost, request: Request, failures: int) -> float | None:
    """How long to wait before the next try; None where this was the last word."""
    if isinstance(came, Lost):
        again = not came.hopeless and (request.repeatable or not came.sent)
        return back_off_s(failures) if again else None
    if is_away(came):
        return (retry_after_s(came) or back_off_s(failures)) if request.repeatable else None
    again = came.status == 503 and request.method != "POST" and not _is_used_up(request)
    return retry_after_s(came) if again else None


def _is_used_up(request: Request) -> bool:
    """What cannot be read a second time cannot be sent a second time."""
    return isinstance(request.body, Upload) and request.body.size is None


def _may_have_arrived(came: Reply | Lost) -> bool:
    return came.sent if isinstance(came, Lost) else is_away(came)


def read() -> Steps[bytes | Lost]:
    """The next bytes of a streamed reply."""
    came = yield Read()
    assert isinstance(came, (bytes, Lost)), came
    return came
