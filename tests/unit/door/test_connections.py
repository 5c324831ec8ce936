"""Who is connected, and who makes room."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from worker_orchestrator.door.connections import Connections


class Line:
    """A connection that remembers whether it had to give way."""

    def __init__(self, client: str = "a") -> None:
        self.client, self.gone, self.busy = client, False, False

    def give_way(self) -> None:
        assert not self.busy, "a request of it is being answered"
        assert not self.gone, "it is closed already"
        self.gone = True


def test_the_longest_idle_connection_of_the_client_makes_room() -> None:
    connections = Connections(2, 100)
    first, second, other, third = Line(), Line(), Line("b"), Line()
    assert [connections.admit(line, line.client) for line in (other, first, second)] == [True] * 3
    connections.begin(first)
    connections.rest(first)
    assert connections.admit(third, "a")
    assert [line.gone for line in (first, second, other)] == [False, True, False]


def test_what_is_answered_a_request_never_makes_room() -> None:
    connections = Connections(1, 100)
    first, second = Line(), Line()
    assert connections.admit(first, "a")
    connections.begin(first)
    assert not connections.admit(second, "a")
    assert connections.admit(Line("b"), "b")
    connections.rest(first)
    assert connections.admit(second, "a")
    assert first.gone


def test_when_all_places_are_taken_the_longest_idle_one_of_anybody_makes_room() -> None:
    connections = Connections(10, 2)
    first, second = Line("a"), Line("b")
    assert connections.admit(first, "a")
    assert connections.admit(second, "b")
    assert connections.admit(Line("c"), "c")
    assert first.gone
    assert not second.gone
    assert len(connections) == 2


def test_whoever_was_turned_away_or_gave_way_may_leave_at_any_time() -> None:
    connections = Connections(1, 1)
    first, second = Line(), Line()
    connections.admit(first, "a")
    connections.admit(second, "a")
    for line in (first, Line(), first):
        connections.begin(line)
        connections.rest(line)
        connections.leave(line)
    assert len(connections) == 1
    connections.leave(second)
    assert len(connections) == 0


class AnyOrder(RuleBasedStateMachine):
    """Against a plain list: three places for each client, seven in all."""

    lines = Bundle("lines")

    def __init__(self) -> None:
        super().__init__()
        self.connections = Connections(3, 7)
        self.open: list[Line] = []  # the longest idle first

    def _expected_to_give_way(self, client: str) -> tuple[bool, Line | None]:
        own = [line for line in self.open if line.client == client]
        crowd = own if len(own) >= 3 else self.open if len(self.open) >= 7 else None
        if crowd is None:
            return True, None
        doomed = next((line for line in crowd if not line.busy), None)
        return doomed is not None, doomed

    @rule(target=lines, client=st.sampled_from("abcd"))
    def connect(self, client: str) -> object:
        line = Line(client)
        admitted, doomed = self._expected_to_give_way(client)
        before = {line for line in self.open if line.gone}
        assert self.connections.admit(line, client) is admitted
        assert {line for line in self.open if line.gone} - before == ({doomed} if doomed else set())
        self.open = [other for other in self.open if not other.gone]
        if not admitted:
            return multiple()
        self.open.append(line)
        return line

    @rule(line=lines)
    def ask(self, line: Line) -> None:
        if not line.gone:
            line.busy = True
        self.connections.begin(line)

    @rule(line=lines)
    def answered(self, line: Line) -> None:
        if not line.gone and line.busy:
            line.busy = False
            self.open.remove(line)
            self.open.append(line)
            self.connections.rest(line)

    @rule(line=consumes(lines))
    def close(self, line: Line) -> None:
        self.connections.leave(line)
        self.open = [other for other in self.open if other is not line]
        line.gone = True

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.connections) == len(self.open) <= 7
        clients = {line.client for line in self.open}
        assert {name: known.count for name, known in self.connections._clients.items()} == {
            name: sum(line.client == name for line in self.open) for name in clients
        }


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(derandomize=True, deadline=None, max_examples=60, stateful_step_count=40)
