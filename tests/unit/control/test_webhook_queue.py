"""In which order messages go to the webhook, and when again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from worker_orchestrator.control.telling import webhook_queue
from worker_orchestrator.control.telling.webhook_queue import FIRST_PAUSE_S, KEPT_S, LONGEST_PAUSE_S, WebhookQueue
from worker_orchestrator.store.outbox import Letter


def letter(number: int, project: str = "p") -> Letter:
    return Letter(number, f"msg_{number}", 0, project, "{}")


def a_queue(*projects: str) -> WebhookQueue:
    queue = WebhookQueue()
    for number, project in enumerate(projects, 1):
        queue.add(letter(number, project), 0)
    return queue


def taken(queue: WebhookQueue, now: float) -> list[int]:
    """The numbers of all that are due."""
    return [one.number for one in iter(lambda: queue.take(now), None)]


def test_those_of_one_project_go_one_after_the_other() -> None:
    queue = a_queue("p", "q", "p")
    assert taken(queue, 0) == [1, 2]
    assert queue.due_at() is None
    queue.taken(letter(1), 1)
    assert queue.due_at() == 1
    assert taken(queue, 1) == [3]
    queue.taken(letter(3), 1)
    queue.taken(letter(2, "q"), 1)
    assert (len(queue), queue.due_at()) == (0, None)


def test_the_pauses_grow_up_to_an_hour_for_a_day() -> None:
    queue, now, pauses = a_queue("p", "p"), 0.0, list[float]()
    while True:
        assert taken(queue, now) == [1]
        if not queue.failed(letter(1), now):
            break
        due_at = queue.due_at()
        assert due_at is not None
        pauses.append(due_at - now)
        now = due_at
    for tries, pause_s in enumerate(pauses):
        most_s = min(2.0**tries, LONGEST_PAUSE_S)
        assert most_s / 2 <= pause_s <= most_s
    assert KEPT_S <= now <= KEPT_S + LONGEST_PAUSE_S
    assert len(queue) == 1
    assert taken(queue, now) == [2], "the next one begins at once"
    assert queue.failed(letter(2), now) is False, "it is as old"


def test_what_waited_before_a_restart_is_given_up_no_later() -> None:
    queue = WebhookQueue()
    queue.add(letter(1), 100, age_s=KEPT_S - 10)
    queue.take(100)
    assert queue.failed(letter(1), 109.9)
    queue.take(200)
    assert not queue.failed(letter(1), 110)


def test_a_receiver_that_asks_for_a_pause_gets_it_but_no_more_than_an_hour() -> None:
    for asked_s, due_at in ((300, 300), (1e9, LONGEST_PAUSE_S)):
        queue = a_queue("p")
        queue.take(0)
        queue.failed(letter(1), 0, asked_s)
        assert queue.due_at() == due_at


def test_the_oldest_of_too_many_are_given_up_but_not_those_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_queue, "MOST", 2)
    queue = a_queue("p", "p", "q", "r")
    assert queue.give_up_surplus(0) == [1, 2]
    assert taken(queue, 0) == [3, 4]
    for number in (5, 6):
        queue.add(letter(number, "q"), 0)
    monkeypatch.setattr(webhook_queue, "MOST", 3)
    assert queue.give_up_surplus(0) == [5], "which leaves those that are under way"
    assert taken(queue, 0) == []
    queue.taken(letter(3, "q"), 0)
    assert taken(queue, 0) == [6]
    queue.taken(letter(4, "r"), 0)
    queue.taken(letter(6, "q"), 0)
    assert len(queue) == 0
    queue.add(letter(7, "p"), 9)
    assert taken(queue, 9) == [7]
    assert queue.give_up_surplus(9) == []


def test_the_pauses_of_a_message_say_nothing_of_the_next() -> None:
    queue = a_queue("p", "p")
    for now in (0, 10, 100, 1000):
        queue.take(now)
        queue.failed(letter(1), now)
    queue.take(9000)
    queue.taken(letter(1), 9000)
    assert taken(queue, 9000) == [2]
    queue.failed(letter(2), 9000)
    due_at = queue.due_at()
    assert due_at is not None
    assert due_at <= 9000 + FIRST_PAUSE_S


_STEP = some.tuples(some.sampled_from(["add", "take", "taken", "failed", "surplus"]), some.sampled_from("pqr"))


@given(some.lists(_STEP, max_size=80))
def test_each_project_has_one_under_way_and_all_in_their_order(steps: list[tuple[str, str]]) -> None:
    queue, now, number = WebhookQueue(), 0.0, 0
    waiting, under_way = dict[str, list[int]](), dict[str, Letter]()
    for what, project in steps:
        now += 1.0
        match what:
            case "add":
                number += 1
                queue.add(letter(number, project), now)
                waiting.setdefault(project, []).append(number)
            case "take":
                one = queue.take(now)
                if one is not None:
                    assert one.project not in under_way
                    assert one.number == waiting[one.project][0]
                    under_way[one.project] = one
            case "taken" | "failed" if project in under_way:
                one = under_way.pop(project)
                if what == "taken":
                    queue.taken(one, now)
                    waiting[project].pop(0)
                else:
                    assert queue.failed(one, now)
            case _:
                assert queue.give_up_surplus(now) == []
        assert len(queue) == sum(map(len, waiting.values()))
    due = {one.project for one in iter(lambda: queue.take(now + 1e6), None)}
    assert due == {project for project, numbers in waiting.items() if numbers} - under_way.keys(), "none is forgotten"
