"""A stream of events that outlives its connections."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final, NoReturn

import msgspec

from worker_orchestrator.client.call_steps import Emit, Flow, Lost, Pause, Request
from worker_orchestrator.client.reply_decoding import unreachable
from worker_orchestrator.client.retries import Answer, Service, back_off_s, exchange, read
from worker_orchestrator.client.server_sent_events import Frame, Frames
from worker_orchestrator.errors import CallFailed, EventsLost
from worker_orchestrator.wire.v1 import Event

__all__ = ["followed"]

_SILENCE_S: Final = 45.0
"""The service says something every 15 s: after three times that, nobody is there."""
_PATIENT: Final = 1_000_000


class _Kept(msgspec.Struct):
    """What a reset says of the events that are left."""

    oldest: int | None = None
    newest: int | None = None


def followed(
    query: tuple[tuple[str, str], ...],
    service: Service,
    check: Callable[[Answer], None],
    *,
    after: int | None,
    follow: bool,
) -> Flow[Event]:
    """Events behind `after`, each once and in order, over as many connections as it takes."""
    place, fruitless, retries = after, 0, service.retries
    while True:
        headers = {"accept": "text/event-stream"} | ({} if place is None else {"last-event-id": str(place)})
        request = Request(method="GET", path="/v1/events", query=query, headers=headers)
        answer = yield from exchange(request, service, streamed=True, silence_s=_SILENCE_S)
        check(answer)
        _check_kind(answer, service)
        frames, fruitful = Frames(), False
        while piece := (yield from read()):
            if isinstance(piece, Lost):
                break
            for frame in frames.feed(piece):
                fruitful = True
                if frame.event == "reset":
                    _raise_lost(place, frame)
                number = _number(frame, service)
                if frame.data and (place is None or number > place):
                    yield Emit(_event(frame, service))
                place = number if place is None else max(place, number)
        if not follow and not piece:
            return
        fruitless = 0 if fruitful else fruitless + 1
        lost = piece if isinstance(piece, Lost) else Lost(why="it closed the stream of events", sent=True)
        if fruitless > retries or retries == 0:
            raise unreachable(lost, service.url)
        service = _patient(service)
        yield Pause(back_off_s(fruitless))


def _patient(service: Service) -> Service:
    """Who followed already waits for a service that starts anew as long as a call may take."""
    return Service(service.url, service.timeout_s, _PATIENT)


def _check_kind(answer: Answer, service: Service) -> None:
    if not answer.reply.headers.get("content-type", "").startswith("text/event-stream"):
        raise CallFailed(f"What answers at {service.url} is no worker orchestrator: it sends no stream of events.")


def _number(frame: Frame, service: Service) -> int:
    if frame.id.isascii() and frame.id.isdigit():
        return int(frame.id)
    raise CallFailed(f"The stream of events from {service.url} holds one without a number: {frame.id!r}.")


def _event(frame: Frame, service: Service) -> Event:
    try:
        return msgspec.json.decode(frame.data, type=Event)
    except msgspec.MsgspecError as error:
        raise CallFailed(f"The service at {service.url} is one of another version: {error}.") from None


def _raise_lost(place: int | None, frame: Frame) -> NoReturn:
    kept = _Kept()
    with contextlib.suppress(msgspec.MsgspecError):
        kept = msgspec.json.decode(frame.data, type=_Kept)
    why = (
        f"Events behind {place} are lost: they are not kept any more, or the service goes on with an older copy of its "
        f"database, which does not know them. List the machines anew and go on after {kept.newest}."
    )
    if place is not None and kept.newest is not None and place > kept.newest:
        why = f"There is no event {place} so far: the newest one is {kept.newest}."
    raise EventsLost(why, oldest=kept.oldest, newest=kept.newest)
