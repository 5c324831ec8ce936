"""A stream of events that continues over lost connections."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final, NoReturn

import msgspec

from worker_orchestrator.client.call_steps import Emit, Flow, NoReply, Pause, Request
from worker_orchestrator.client.reply_decoding import unreachable
from worker_orchestrator.client.retries import FinalReply, Service, back_off_s, read_piece, send_with_retries
from worker_orchestrator.client.server_sent_events import Frame, FrameReader
from worker_orchestrator.errors import CallFailed, EventsLost
from worker_orchestrator.wire.v1 import Event

__all__ = ["follow_events"]

_SILENCE_S: Final = 45.0
"""The service sends something every 15 s: after three times that, it is gone."""
_RETRIES_WHILE_FOLLOWING: Final = 1_000_000


class _Range(msgspec.Struct):
    """The ids of the oldest and newest event that the service still keeps, as its `reset` tells them."""

    oldest: int | None = None
    newest: int | None = None


def follow_events(
    query: tuple[tuple[str, str], ...],
    service: Service,
    check: Callable[[FinalReply], None],
    *,
    after: int | None,
    follow: bool,
) -> Flow[Event]:
    """Events behind `after`, each once and in order, over as many connections as it takes.

    Raises EventsLost, ServiceUnreachable, CallFailed.
    """
    last_id, fruitless, retries = after, 0, service.retries
    while True:
        headers = {"accept": "text/event-stream"} | ({} if last_id is None else {"last-event-id": str(last_id)})
        request = Request(method="GET", path="/v1/events", query=query, headers=headers)
        final = yield from send_with_retries(request, service, streamed=True, silence_s=_SILENCE_S)
        check(final)
        _check_media_type(final, service)
        frames, is_fruitful = FrameReader(), False
        while piece := (yield from read_piece()):
            if isinstance(piece, NoReply):
                break
            for frame in frames.feed(piece):
                is_fruitful = True
                if frame.event == "reset":
                    _raise_events_lost(last_id, frame)
                event_id = _event_id(frame, service)
                if frame.data and (last_id is None or event_id > last_id):
                    yield Emit(_decode_event(frame, service))
                last_id = event_id if last_id is None else max(last_id, event_id)
        if not follow and not piece:
            return
        fruitless = 0 if is_fruitful else fruitless + 1
        end = piece if isinstance(piece, NoReply) else NoReply(reason="it closed the stream of events", sent=True)
        if fruitless > retries or retries == 0:
            raise unreachable(end, service.url)
        service = _patient(service)
        yield Pause(back_off_s(fruitless))


def _patient(service: Service) -> Service:
    """The same service, with retries for as long as a call may take, since a stream that began outlives a restart."""
    return Service(service.url, service.timeout_s, _RETRIES_WHILE_FOLLOWING)


def _check_media_type(final: FinalReply, service: Service) -> None:
    if not final.reply.headers.get("content-type", "").startswith("text/event-stream"):
        raise CallFailed(
            f"The server at {service.url} sends no stream of events, so it is not a worker orchestrator. Check the address."
        )


def _event_id(frame: Frame, service: Service) -> int:
    if frame.id.isascii() and frame.id.isdigit():
        return int(frame.id)
    raise CallFailed(
        f"The stream of events from {service.url} contains an event whose id is not a number: {frame.id!r}."
    )


def _decode_event(frame: Frame, service: Service) -> Event:
    try:
        return msgspec.json.decode(frame.data, type=Event)
    except msgspec.MsgspecError as error:
        raise CallFailed(f"The service at {service.url} has another version than this client: {error}.") from None


def _raise_events_lost(last_id: int | None, reset: Frame) -> NoReturn:
    ids = _Range()
    with contextlib.suppress(msgspec.MsgspecError):
        ids = msgspec.json.decode(reset.data, type=_Range)
    message = (
        f"Events after {last_id} are lost: either the service does not keep them any more, or it was started with an older "
        f"copy of its database, which does not contain them. List the machines again and continue after event {ids.newest}."
    )
    if last_id is not None and ids.newest is not None and last_id > ids.newest:
        message = f"Event {last_id} does not exist yet: the newest event is {ids.newest}."
    raise EventsLost(message, oldest=ids.oldest, newest=ids.newest)
