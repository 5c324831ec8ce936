"""Who is answered at once: whoever may call, and is judged anew whenever that may have changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from worker_orchestrator.http.access.callers import Callers
from worker_orchestrator.http.access.guard import Guard
from worker_orchestrator.http.app import App
from worker_orchestrator.http.document import Document
from worker_orchestrator.http.reply import Reply

Headers = dict[bytes, bytes]

LOCAL: Headers = {b"host": b"localhost"}


class Asked:
    """Asks an application whose document answers everything, and keeps what it said."""

    def __init__(self, token: str = "", *, worker_ports: set[int] | None = None, rate: float | None = None) -> None:
        guard = Guard(worker_ports=worker_ports or (), any_host=bool(token))
        self._app = App(
            cast("Document", self),
            cast("Any", None),
            cast("Any", None),
            guard,
            Callers(token, rate, lambda: 0.0),
            self.fail,
        )
        self.said: list[str] = []

    def at_once(self, _method: str, _name: str, answered: Callable[[Reply], None]) -> bool:
        answered(Reply(200))
        return True

    @staticmethod
    def fail(defect: BaseException) -> None:
        raise defect

    def is_answered(self, headers: Headers, address: str = "127.0.0.1") -> bool:
        return self._app.at_once("GET", "p", address, headers, lambda more, _reply: self.said.append(more))


def test_each_request_of_a_caller_has_an_id_of_its_own() -> None:
    asked = Asked()
    assert all(asked.is_answered(LOCAL) for _ in range(3))
    assert len(set(asked.said)) == 3
    assert all(said.startswith("x-request-id: ") and said.endswith("\r\nvary: Origin\r\n") for said in asked.said)


@pytest.mark.parametrize(("given", "is_kept"), [(b"mine", True), (b"a b", False)])
def test_an_id_that_a_caller_gives_is_kept_if_it_is_fit(given: bytes, *, is_kept: bool) -> None:
    asked, headers = Asked(), {**LOCAL, b"x-request-id": given}
    assert all(asked.is_answered(headers) for _ in range(2))
    assert all((given.decode() in said) is is_kept for said in asked.said)


def test_who_may_not_call_gains_nothing_by_who_called_before() -> None:
    asked = Asked(rate=None)
    foreign = {b"host": b"evil.example"}
    for _ in range(2):
        assert asked.is_answered(LOCAL)
        assert not asked.is_answered(foreign)
        assert not asked.is_answered(LOCAL, "192.0.2.1"), "it is counted first"


def test_a_token_is_looked_at_each_time() -> None:
    asked, known = Asked("secret"), {**LOCAL, b"authorization": b"Bearer secret"}
    for _ in range(2):
        assert asked.is_answered(known)
        assert not asked.is_answered(LOCAL)
    known[b"authorization"] = b"Bearer other"  # as a session that ended
    assert not asked.is_answered(known)


def test_a_page_is_judged_anew_since_its_port_may_be_a_workers_by_now() -> None:
    ports = {9093}
    asked, page = Asked(worker_ports=ports), {**LOCAL, b"origin": b"http://localhost:9999"}
    assert asked.is_answered(page)
    ports.add(9999)
    assert not asked.is_answered(page)
