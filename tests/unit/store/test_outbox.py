"""What the webhook is to be told is stored with the change that it tells of, and with nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from worker_orchestrator.core.lease import Announcement, EndsBy, Lease, Terms
from worker_orchestrator.core.machine import Cause, Change, Holding, Machine, State
from worker_orchestrator.errors import CommitFailed
from worker_orchestrator.store.store import Store

IDLE = Machine("worker-1-aaaaaaaaa", "default", "t", State.READY, 9093, reason="The worker answered.")
LEASE = Lease(Terms(ttl=3600), 5.0, 5.0)
HELD = replace(IDLE, holding=Holding("p", "", LEASE), generation=7)
WARNED = replace(HELD, holding=Holding("p", "", replace(LEASE, announced=Announcement(3545, 3605, EndsBy.TTL))))
OVER = replace(IDLE, state=State.STOPPING, generation=7, reason="Its project had not asked for it for 1 h.")
ASSIGNED = Change(IDLE, HELD, Cause.ASSIGNED)
EXPIRING = Change(HELD, WARNED, Cause.EXPIRING)
EXPIRED = Change(WARNED, OVER, Cause.EXPIRED, deadline=EndsBy.TTL)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "orchestrator.db") as opened:
        opened.outbox.is_wanted = True
        opened.commit([Change(None, IDLE, Cause.ADOPTED)], {}, 1)
        yield opened


def test_a_message_tells_of_the_end_and_of_its_announcement(store: Store, tmp_path: Path) -> None:
    store.commit([ASSIGNED], {}, 2)
    store.commit([EXPIRING], {}, 1_700_000_000_250)
    store.commit([EXPIRED], {}, 1_700_000_060_250)
    store.close()
    with Store(tmp_path / "orchestrator.db") as again:
        first, second = again.outbox.after(0, 10)
    assert (first.number, first.at_ms, first.project) == (1, 1_700_000_000_250, "p")
    assert first.id != second.id
    of_both = {"project": "p", "machine": IDLE.id, "pool": "default", "generation": 7}
    assert json.loads(first.body) == {
        "id": first.id,
        "type": "machine.expiring",
        "at": "2023-11-14T22:13:20.250000Z",
        **of_both,
        "reason": "It expires in 1 min, unless its project asks for it or keeps it.",
        "expires_by": "ttl",
        "expires_at": "2023-11-14T22:14:20.250000Z",
    }
    assert json.loads(second.body) == {
        "id": second.id,
        "type": "machine.expired",
        "at": "2023-11-14T22:14:20.250000Z",
        **of_both,
        "reason": OVER.reason,
    }


def test_the_event_of_an_announcement_says_what_it_announces(store: Store) -> None:
    store.commit([ASSIGNED], {}, 2)
    store.commit([EXPIRING], {}, 3)
    event = store.events()[-1]
    assert (event.cause, event.state, event.project) == ("expiring", "ready", "p")
    assert event.reason == "It expires in 1 min, unless its project asks for it or keeps it."


def test_nothing_is_kept_for_nobody(store: Store) -> None:
    store.outbox.is_wanted = False
    store.commit([ASSIGNED, EXPIRING, EXPIRED], {}, 2)
    assert store.outbox.after(0, 10) == []


def test_what_was_not_stored_is_not_told(store: Store) -> None:
    store.commit([ASSIGNED], {}, 2)
    elsewhere = replace(HELD, id="worker-2-bbbbbbbbb", port=9094)
    unknown = Change(elsewhere, replace(elsewhere, reason="nobody knows it"), Cause.ANNOTATED)
    with pytest.raises(CommitFailed):
        store.commit([EXPIRING, unknown], {}, 3)
    assert store.outbox.after(0, 10) == []


def test_what_was_removed_is_gone_and_its_number_is_never_used_again(store: Store) -> None:
    store.commit([ASSIGNED, EXPIRING, EXPIRED], {}, 2)
    assert store.outbox.remove([1, 2])
    assert store.outbox.after(0, 10) == []
    again = replace(OVER, id="worker-3-ccccccccc", port=9095)
    before = replace(WARNED, id=again.id, port=9095)
    store.commit([Change(None, replace(before, holding=None), Cause.ADOPTED)], {}, 3)
    store.commit([Change(replace(before, holding=None), before, Cause.ASSIGNED)], {}, 3)
    store.commit([Change(before, again, Cause.EXPIRED, deadline=EndsBy.TTL)], {}, 4)
    assert [one.number for one in store.outbox.after(0, 10)] == [3]
    assert [one.number for one in store.outbox.after(3, 10)] == []


def test_what_cannot_be_removed_now_stays(store: Store) -> None:
    store.commit([ASSIGNED, EXPIRING], {}, 2)
    store._db.execute("PRAGMA query_only = 1")
    assert not store.outbox.remove([1])
    store._db.execute("PRAGMA query_only = 0")
    assert [one.number for one in store.outbox.after(0, 10)] == [1]
