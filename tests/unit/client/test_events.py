"""A stream of events that outlives its connections."""

from __future__ import annotations

import json
import random

import pytest
from tests.unit.client.conftest import Connect
from tests.unit.client.scripted import Act, ScriptedServer, answer, cut, problem, scripted

from worker_orchestrator.errors import CallFailed, EventsLost, PoolNotFound, ServiceUnreachable


def event(number: int) -> bytes:
    data = {
        "id": number,
        "at": "2026-01-01T00:00:00Z",
        "machine": "m-1",
        "pool": "default",
        "project": "p",
        "generation": 1,
        "cause": "assigned",
        "state": "assigned",
        "reason": "",
    }
    return f"id: {number}\nevent: assigned\ndata: {json.dumps(data)}\n\n".encode()


def events(*numbers: int) -> bytes:
    return b"".join(map(event, numbers))


def resumed_from(server: ScriptedServer) -> list[str | None]:
    return [heard.headers.get("last-event-id") for heard in server.heard]


def test_all_that_is_kept(connect: Connect) -> None:
    """Without following it ends with the newest."""
    with scripted(cut(b"id: 0\n\n", events(1, 2), end=True)) as server, connect(server.url) as client:
        assert [found.id for found in client.events(follow=False, project="p", machine="m-1")] == [1, 2]
    assert server.heard[0].target == "/v1/events?project=p&machine=m-1&follow=false"
    assert resumed_from(server) == [None]


def test_a_place_to_go_on_from(connect: Connect) -> None:
    """It is told from the first connection on."""
    with scripted(cut(b"id: 7\n\n", events(8), end=True)) as server, connect(server.url) as client:
        assert [found.id for found in client.events(after=7, follow=False)] == [8]
    assert resumed_from(server) == ["7"]


@pytest.mark.parametrize("end", [True, False], ids=["ended", "cut"])
def test_a_lost_connection_is_made_anew_behind_the_last_event(connect: Connect, *, end: bool) -> None:
    """Nothing is missed, nothing repeated: also what a service sends twice, and half an event counts as not seen."""
    script = (
        cut(b"id: 4\n\n", end=end),
        cut(b"id: 4\n\n", events(5, 6), event(7)[:-1], end=end),
        problem(503, "engine_unavailable", headers={"retry-after": "0"}),
        cut(b"id: 6\n\n", b": ping\n\n", events(6, 7, 8), end=end),
        cut(events(9)),
    )
    with scripted(*script) as server, connect(server.url) as client:
        stream = client.events()
        assert [next(stream).id for _ in range(5)] == [5, 6, 7, 8, 9]
        stream.close()
    assert resumed_from(server) == [None, "4", "6", "6", "8"]


def test_a_hundred_cuts_anywhere_miss_and_repeat_nothing(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever in the bytes they fall."""
    monkeypatch.setattr("worker_orchestrator.client.event_stream.back_off_s", lambda failures: 0)
    seed = random.randrange(2**32)
    chance = random.Random(seed)

    def some(place: int) -> Act:
        content = events(*range(place + 1, place + 9))
        split = chance.randrange(1, len(content))
        return cut(f"id: {place}\n\n".encode(), content[:split], content[split : chance.randrange(split, len(content))])

    class Resuming(list[Act]):
        """Answers from where it was asked."""

        def pop(self, index: object = 0) -> Act:
            return some(int(server.heard[-1].headers.get("last-event-id", "0")))

    with scripted(cut(), cut()) as server, connect(server.url) as client:
        server.script = Resuming(server.script)
        stream = client.events(after=0)
        seen: list[int] = []
        while len(server.heard) <= 100:
            seen.append(next(stream).id)
        stream.close()
    assert seen == list(range(1, len(seen) + 1)), f"seed {seed}"


def test_events_that_are_not_kept_any_more_are_an_error(connect: Connect) -> None:
    """With what is left, so that one can go on from there."""
    reset = cut(b'event: reset\ndata: {"oldest": 90, "newest": 120}\n\n')
    with (
        scripted(reset) as server,
        connect(server.url) as client,
        pytest.raises(
            EventsLost, match="Events after 7 are lost: either the service does not keep them any more"
        ) as told,
    ):
        next(client.events(after=7))
    assert (told.value.oldest, told.value.newest) == (90, 120)


def test_events_behind_one_that_never_was_are_an_error_that_names_the_newest(connect: Connect) -> None:
    reset = cut(b'event: reset\ndata: {"oldest": 90, "newest": 120}\n\n')
    with (
        scripted(reset) as server,
        connect(server.url) as client,
        pytest.raises(EventsLost, match=r"^Event 121 does not exist yet: the newest event is 120\.$"),
    ):
        next(client.events(after=121))


def test_a_refusal_is_the_error_it_is(connect: Connect) -> None:
    """Trying again would not help."""
    with scripted(problem(404, "pool_not_found")) as server, connect(server.url) as client, pytest.raises(PoolNotFound):
        next(client.events())
    assert len(server.heard) == 1


def test_without_retries_a_lost_connection_is_an_error(connect: Connect) -> None:
    """As with any other call."""
    with scripted(cut(b"id: 4\n\n", events(5))) as server, connect(server.url, retries=0) as client:
        stream = client.events()
        assert next(stream).id == 5
        with pytest.raises(ServiceUnreachable):
            next(stream)


def test_a_stream_that_never_says_anything_is_given_up(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that bring nothing count as failed tries."""
    monkeypatch.setattr("worker_orchestrator.client.event_stream.back_off_s", lambda failures: 0)
    with (
        scripted(cut(b": ping\n\n")) as server,
        connect(server.url, retries=3) as client,
        pytest.raises(ServiceUnreachable),
    ):
        next(client.events())
    assert len(server.heard) == 4


@pytest.mark.parametrize("bad", [b"data: {}\n\n", b"id: 1\ndata: {}\n\n", b"id: x\ndata: {}\n\n"])
def test_what_is_no_event_is_a_failed_call(connect: Connect, bad: bytes) -> None:
    """Nothing is skipped in silence."""
    with scripted(cut(bad)) as server, connect(server.url) as client, pytest.raises(CallFailed, match=server.url):
        next(client.events())


def test_a_page_is_no_stream(connect: Connect) -> None:
    """Another program answers at that port."""
    with (
        scripted(answer(200, b"hello", kind="text/plain")) as server,
        connect(server.url) as client,
        pytest.raises(CallFailed, match="no stream of events"),
    ):
        next(client.events())
