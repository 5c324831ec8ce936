"""What the chaos knows of values: whose they are, whether they are all there, and what of them may be in a machine."""

from __future__ import annotations

import base64
import threading

import pytest
from tests.chaos.configured import ConfiguredModel
from tests.chaos.gate import Gate
from tests.chaos.given import Given, Known
from tests.chaos.harm import Harm, Kind
from tests.chaos.looking import Look, parsed
from tests.chaos.model import Model, Project, Row
from tests.chaos.values import HOOKS, LATE, Values, marks_in
from tests.integration.late_service import a_tar

from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.engines.late_archive import late_archive


def inside(values: Values, *, ready: bool = True, of: frozenset[tuple[str, int]] | None = None) -> Look:
    """A worker that has these values."""
    folder = late_archive(LateValues(values.env, values.secrets, a_tar(values.files)), (0, 0), 1)
    at = "7 today" if ready else ""
    sections = ["abc", at, base64.encodebytes(folder).decode(), at, "", values.run]
    look = parsed("".join(f"{section}\n--\n" for section in sections))
    assert look is not None
    return look if of is None else Look(look.host, look.ready, look.files, of, look.runs)


def a_judge(values: Values) -> tuple[ConfiguredModel, Project]:
    """And a project that was told a moment ago that its machine has these values."""
    model = Model(Harm(), 2)
    judge, project = ConfiguredModel(model), model.new_project(values.project, LATE)
    ask = judge.asks(project, values, replaces=False)
    model.told(project, "worker-1-a", 1)
    project.given.told_generation(1)
    judge.told(ask, {"configured": True, "setup": {"exit_code": 0}})
    project.given.asking = 0
    assert model.violations == []
    return judge, project


def a_row(*, is_configured: bool) -> Row:
    return Row("worker-1-a", "ready", "c1-1", 1, gone=False, reason="", pool=LATE, is_configured=is_configured)


@pytest.mark.parametrize("number", [3, 4])
def test_values_are_there_whole_and_alone_or_they_are_not_there(number: int) -> None:
    values, others = Values("c1-1", number, "ends well"), Values("c1-1", number + 3, "ends well")
    look = inside(values)
    assert values.are(look.files)
    assert not others.are(look.files)
    assert not values.are({**look.files, "secrets/other": b""})
    for name in look.files:
        assert not values.are({key: content for key, content in look.files.items() if key != name}), name
        assert not values.are({**look.files, name: b"{}"}), name


def test_each_value_says_whose_it_is() -> None:
    values = Values("c1-12", 7, "fails")
    sent = [*values.env.values(), *values.secrets.values(), *(text.decode() for text in values.files.values())]
    of_values = [text for text in sent if text not in {values.run, HOOKS["fails"]}]
    assert [marks_in(text.encode()) for text in of_values] == [{("c1-12", 7)}] * 4
    assert marks_in(values.run.encode()) == set()


def test_a_look_that_is_not_whole_is_none() -> None:
    assert parsed("abc\n--\n\n--\n") is None


def test_of_another_assignment_only_what_was_sent_since_may_be_there() -> None:
    first, second, third = (Values("c1-1", number, "ends well") for number in (1, 2, 3))
    given = Given()
    given.sends(first)
    given.told_generation(4)
    given.answered(Known.DONE, first, 1.0, 2.0)
    given.sends(second)
    given.told_generation(4)
    assert (given.possible, given.done) == ([first, second], first)
    given.sends(third)
    given.told_generation(5)
    assert (given.possible, given.known, given.was_done) == ([third], Known.UNSURE, False)
    given.ended()
    assert (given.possible, given.known) == ([], Known.NOTHING)


def test_what_was_told_is_seen_until_something_ends_it() -> None:
    values = Values("c1-1", 1, "ends well")
    judge, project = a_judge(values)
    judge.seen(project, inside(values), project.given.told_at)
    before = judge.model.sure()
    judge.check_rows([a_row(is_configured=True)], before)
    assert judge.model.violations == []
    judge.check_rows([a_row(is_configured=False)], before)
    assert "nothing has ended it" in judge.model.violations.pop()
    with judge.harm.during(Kind.KILLED, "worker-1-a"):
        pass
    judge.check_rows([a_row(is_configured=False)], before)
    assert judge.model.violations == []
    judge.seen(project, inside(values), project.given.told_at + 60)
    assert "killed" in judge.model.violations.pop()


def test_values_of_others_and_a_hook_that_ran_twice_are_seen() -> None:
    values = Values("c1-1", 1, "ends well")
    judge, project = a_judge(values)
    judge.seen(project, inside(values, of=frozenset({("c2-2", 1)})), 0.0)
    assert "('c2-2', 1)" in judge.model.violations.pop()
    twice = inside(values)
    judge.seen(project, Look(twice.host, twice.ready, twice.files, twice.marks, [values.run] * 2), 0.0)
    assert "ran 2 times" in judge.model.violations.pop()
    judge.seen(project, inside(values, ready=False), 0.0)
    assert "is not ready" in judge.model.violations[0]


def test_a_refusal_needs_a_cause() -> None:
    values, others = Values("c1-1", 1, "ends well"), Values("c1-1", 2, "ends well")
    judge, project = a_judge(values)
    judge.refused(judge.asks(project, others, replaces=False), 409, {"code": "configured_otherwise"})
    assert (judge.model.violations, project.given.done) == ([], values)
    for ask, status, code in (
        (judge.asks(project, values, replaces=False), 409, "configured_otherwise"),
        (judge.asks(project, others, replaces=True), 409, "configured_otherwise"),
        (judge.asks(project, others, replaces=True), 503, "no_machine_available"),
    ):
        judge.refused(ask, status, {"code": code})
        assert "for no reason" in judge.model.violations.pop()
    problem = {"code": "setup_failed", "setup": {"exit_code": 1}}
    judge.refused(judge.asks(project, others, replaces=True), 424, problem)
    assert "for no reason" in judge.model.violations.pop()
    with judge.harm.during(Kind.DAEMON_FROZEN):
        judge.refused(judge.asks(project, others, replaces=True), 424, problem)
    assert judge.model.violations == []


def test_no_set_up_begins_while_the_gate_is_closed() -> None:
    gate, begun = Gate(), threading.Event()

    def set_up() -> None:
        with gate.under_way():
            begun.set()

    with gate.closed() as is_calm:
        assert is_calm
        other = threading.Thread(target=set_up)
        other.start()
        assert not begun.wait(0.1)
    other.join()
    assert begun.is_set()
    gate.may_last(60)
    with gate.closed() as is_calm:
        assert not is_calm
