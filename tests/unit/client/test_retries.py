"""What is tried again, and for how long: told from the steps alone, without a socket or a clock."""

from __future__ import annotations

import math

import pytest

from worker_orchestrator.client.call_steps import NoReply, Pause, Reply, Request, Send, Step
from worker_orchestrator.client.request_encoding import request_target
from worker_orchestrator.client.retries import FinalReply, Service, send_with_retries
from worker_orchestrator.errors import ServiceUnreachable

URL = "http://there:9092"
GET = Request(method="GET", path="/v1/health")
ONCE = Request(method="DELETE", path="/v1/machines/m", repeatable=False)
EXEC = Request(method="POST", path="/v1/machines/m/exec", repeatable=False)
OK = Reply(status=200, headers={}, body=b"{}")
REFUSED = NoReply(reason="connection refused", sent=False)
CUT = NoReply(reason="the connection was cut", sent=True)
UNTRUSTED = NoReply(reason="certificate", sent=False, hopeless=True)


def test_a_byte_that_is_no_text_is_sent_as_it_is() -> None:
    """As paths of a worker have them, and `sys.argv`."""
    request = Request(method="GET", path="/v1/machines/m/files", query=(("path", "/ä \udcff"),))
    assert request_target(URL, request) == "/v1/machines/m/files?path=%2F%C3%A4%20%FF"


def busy(retry_after: str, status: int = 503) -> Reply:
    body = b'{"type":"","title":"","status":503,"detail":"full","code":"no_machine_available"}'
    headers = {"content-type": "application/problem+json", "retry-after": retry_after}
    return Reply(status=status, headers=headers, body=body)


def play(
    request: Request, *came: Reply | NoReply, retries: int = 5, timeout_s: float = 60
) -> tuple[FinalReply, list[Step]]:
    """What a request ends with when this comes of its tries, and the steps it took."""
    left, steps = list(came), list[Step]()
    talk = send_with_retries(request, Service(URL, timeout_s, retries))
    step = next(talk)
    while True:
        steps.append(step)
        try:
            step = talk.send(left.pop(0) if isinstance(step, Send) else None)
        except StopIteration as end:
            assert not left, "it ended early"
            return end.value, steps


def pauses(steps: list[Step]) -> list[float]:
    return [step.seconds for step in steps if isinstance(step, Pause)]


def test_the_first_reply_is_the_answer() -> None:
    """One try, where that does."""
    answer, steps = play(GET, OK)
    assert answer == FinalReply(OK, earlier_reply_lost=False)
    assert len(steps) == 1


def test_a_busy_service_is_asked_again_when_it_said() -> None:
    """Retry-After is waited for to the letter."""
    answer, steps = play(GET, busy("7"), busy("0"), OK)
    assert answer.reply == OK
    assert pauses(steps) == [7, 0]


@pytest.mark.parametrize("retry_after", ["", "soon", "-1", "²", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_busy_service_that_names_no_seconds_is_not_asked_again(retry_after: str) -> None:
    """Nobody knows when it would be worth it."""
    answer, _ = play(GET, busy(retry_after))
    assert answer.reply.status == 503


def test_a_busy_service_is_not_waited_for_beyond_the_deadline() -> None:
    """What would come too late is told at once."""
    answer, steps = play(GET, busy("61"))
    assert answer.reply.status == 503
    assert pauses(steps) == []


def test_only_a_503_is_asked_again() -> None:
    """Retry-After on anything else is no promise that it will work then."""
    assert play(GET, busy("1", status=429))[0].reply.status == 429


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_no_more_tries_than_allowed(retries: int) -> None:
    """The last 503 is the answer."""
    answer, steps = play(GET, *[busy("0")] * (retries + 1), retries=retries)
    assert answer.reply.status == 503
    assert len(pauses(steps)) == retries


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_nobody_there_after_all_tries(retries: int) -> None:
    """It says who does not answer, why, and what to do."""
    with pytest.raises(
        ServiceUnreachable, match=rf"{URL} does not answer: connection refused\. Check that it runs"
    ) as told:
        play(GET, *[REFUSED] * (retries + 1), retries=retries)
    assert "ORCHESTRATOR_URL" in told.value.message


def test_the_back_off_grows_and_is_bounded() -> None:
    """Twice as long each time, five seconds at most, and never alike for all."""
    _, steps = play(GET, *[REFUSED] * 20, OK, retries=20, timeout_s=math.inf)
    for number, pause in enumerate(pauses(steps)):
        longest = min(0.2 * 2**number, 5.0)
        assert longest / 2 <= pause <= longest


def test_a_lost_reply_is_remembered() -> None:
    """Whoever releases must know that an earlier try may have done it."""
    assert play(GET, CUT, OK)[0].earlier_reply_lost
    assert not play(GET, REFUSED, OK)[0].earlier_reply_lost
    assert not play(GET, busy("0"), OK)[0].earlier_reply_lost


def test_what_must_not_happen_twice_is_not_sent_twice() -> None:
    """A connection that broke may have carried it."""
    with pytest.raises(ServiceUnreachable, match="was cut"):
        play(ONCE, CUT)


def test_what_was_never_sent_may_be_sent() -> None:
    """Where no connection came about, nothing can have happened."""
    assert play(ONCE, REFUSED, OK)[0].reply == OK
    assert play(EXEC, REFUSED, OK)[0].reply == OK


def test_a_refused_release_may_be_sent_again_but_no_exec() -> None:
    """A 503 of the service means that nothing was stored; of a command nobody knows how far it came."""
    assert play(ONCE, busy("0"), OK)[0].reply == OK
    assert play(EXEC, busy("0"))[0].reply.status == 503


def test_what_fails_for_good_is_tried_once() -> None:
    """A certificate does not get better."""
    with pytest.raises(ServiceUnreachable, match="certificate"):
        play(GET, UNTRUSTED)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_without_its_service_is_a_lost_connection(status: int) -> None:
    """It may have passed the request on."""
    away = Reply(status=status, headers={"content-type": "text/html"}, body=b"<h1>Bad gateway</h1>")
    answer, steps = play(GET, away, OK)
    assert answer == FinalReply(OK, earlier_reply_lost=True)
    assert len(pauses(steps)) == 1
    assert play(ONCE, away)[0].reply == away


def test_whoever_does_not_wait_is_told_at_once() -> None:
    """`wait_seconds` says how long to wait in all, not for each try."""
    not_at_all = Request(method="PUT", path="/", waits_s=0.0)
    assert play(not_at_all, busy("3"))[0].reply.status == 503
    for_a_minute = Request(method="PUT", path="/", waits_s=60.0, takes_s=60.0)
    assert play(for_a_minute, busy("3"), OK)[0].reply == OK
    assert play(for_a_minute, busy("61"))[0].reply.status == 503


def test_all_tries_together_wait_no_longer_than_the_first_one_was_asked_to() -> None:
    """Each later one asks for what is left, in the end for nothing."""
    for waits_s, least, most in ((60.0, 59, 60), (0.0, 0, 0)):
        request = Request(
            method="PUT",
            path="/",
            body=b"first",
            waits_s=waits_s,
            takes_s=waits_s,
            body_for=lambda left_s: b"%f" % left_s,
        )
        _, steps = play(request, CUT, CUT, OK)
        first, *later = (step.request.body for step in steps if isinstance(step, Send))
        assert first == b"first"
        assert [least <= float(body) <= most for body in later if isinstance(body, bytes)] == [True, True]


def test_time_that_the_service_was_asked_to_take_is_given_to_it() -> None:
    """The silence allowed is what is left until the deadline."""
    _, (send,) = play(Request(method="POST", path="/", takes_s=300), OK)
    assert isinstance(send, Send)
    assert send.silence_s is not None
    assert 359 < send.silence_s <= 360
    assert send.connect_s == 10
