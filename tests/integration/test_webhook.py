"""The webhook of a running service: what its receiver hears, what it does when that is ill, and after `kill -9`.

Nothing expires in the first minute of a service, so the tests on one service share it.
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.calling import call
from tests.integration.receiving import Receiver, Sent, is_signed
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually, holds_for

PAGE = Path(__file__).parents[2] / "docs" / "deadlines.md"
PATH = "/hooks/path-t0ken"
SPARED_S = 60.0
TIMEOUT_S = 15.0
FLAGS = ("--max-machines", "20", "--refresh-interval", "60")
BOTH = ["machine.expiring", "machine.expired"]


def a_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver(a_port()).listening() as one:
        yield one


@pytest.fixture(scope="module")
def away() -> Receiver:
    """One that does not listen yet."""
    return Receiver(a_port())


@pytest.fixture(scope="module")
def unheard(away: Receiver, tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    """Another service, with machines on Docker, whose receiver is away."""
    flags = (*FLAGS, "--min-idle", "1", "--webhook", f"http://127.0.0.1:{away.port}{PATH}")
    with a_service(tmp_path_factory.mktemp("unheard"), *flags) as running:
        yield running


@pytest.fixture(scope="module")
def service(receiver: Receiver, unheard: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One whose first minute is over; that of `unheard` is over with it."""
    flags = (*FLAGS, "--engine", "memory", "--webhook", f"http://127.0.0.1:{receiver.port}{PATH}")
    with a_service(tmp_path_factory.mktemp("webhook"), *flags) as running:
        time.sleep(SPARED_S)
        yield running
        assert secret_of(running) not in running.log
        assert "path-t0ken" not in running.log


def secret_of(service: Running) -> str:
    return (service.state_dir / "webhook-secret").read_text().strip()


def assign(service: Running, project: str, **terms: float) -> Any:
    answer = call(service.ports.api, "PUT", f"/v1/projects/{project}/machine", terms)
    assert answer.status in {200, 201}, answer.text
    return answer.json


def keep(service: Running, project: str) -> None:
    assert call(service.ports.api, "POST", f"/v1/projects/{project}/machine/keepalive").status == 204


def both(receiver: Receiver, project: str, count: int = 2) -> list[Sent]:
    """What this project is sent, once there is so much of it."""
    return eventually(lambda: found if len(found := receiver.of(project)) >= count else [], f"{count} messages")


def test_a_warning_and_the_end_come_once_each_signed_and_in_time(service: Running, receiver: Receiver) -> None:
    begun = time.monotonic()
    machine = assign(service, "ada", ttl=4)
    warning, end = both(receiver, "ada")
    assert receiver.types("ada") == BOTH
    assert 2 <= warning.at - begun < 4, "half way"
    assert 4 <= end.at - begun < 6.5, "two seconds late at most"
    for one in (warning, end):
        assert is_signed(one, secret_of(service))
        assert one.message["id"] == one.head["webhook-id"]
        assert one.message["machine"] == machine["id"]
        assert one.message["generation"] == machine["generation"]
        assert one.message["pool"] == "default"
    assert warning.message["expires_by"] == "ttl"
    assert "expires_by" not in end.message
    assert end.message["reason"] == "Its project had not asked for it for 4 s."
    holds_for(lambda: len(receiver.of("ada")) == 2, "nothing comes twice", for_s=2)
    feed = service.get("/v1/events?follow=false&project=ada").text
    assert re.findall(r"^event: (.*)$", feed, re.MULTILINE) == ["assigned", "expiring", "expired"]


def test_what_is_kept_is_warned_anew_and_what_is_released_never(service: Running, receiver: Receiver) -> None:
    assign(service, "bob", ttl=3)
    assign(service, "eve", ttl=3)
    both(receiver, "bob", 1)
    keep(service, "bob")
    call(service.ports.api, "DELETE", "/v1/projects/eve/machine")
    both(receiver, "bob", 3)
    assert receiver.types("bob") == ["machine.expiring", *BOTH]
    assert set(receiver.types("eve")) <= {"machine.expiring"}


@pytest.mark.parametrize("ill", [500, 301, "hang"])
def test_an_ill_receiver_is_sent_it_again_under_the_same_id(
    service: Running, receiver: Receiver, ill: int | str
) -> None:
    project = f"ill-{ill}"
    receiver.answers[project] = [ill]
    assign(service, project, max_age=2)
    sent = eventually(
        lambda: found if len(found := receiver.of(project)) == 3 else [], "both, one of them twice", within_s=40
    )
    assert receiver.types(project) == ["machine.expiring", *BOTH], "the end waits for its announcement"
    assert sent[0].head["webhook-id"] == sent[1].head["webhook-id"]
    assert all(is_signed(one, secret_of(service)) for one in sent)
    if ill == "hang":
        assert TIMEOUT_S <= sent[1].at - sent[0].at < TIMEOUT_S + 5
    assert "the webhook did not take a message" in service.log


def test_deliveries_are_counted(service: Running, receiver: Receiver) -> None:
    assign(service, "counted", ttl=2)
    both(receiver, "counted")

    def shown() -> dict[str, str]:
        lines = service.get("/metrics").text.splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if "webhook" in line and not line.startswith("#"))

    eventually(lambda: shown()["orchestrator_webhook_queue"] == "0.0", "nothing waits")
    assert float(shown()['orchestrator_webhook_deliveries_total{result="taken"}']) >= 2


def test_the_receiver_of_the_guide_verifies_them(service: Running, receiver: Receiver, tmp_path: Path) -> None:
    """It is run as it stands there, and hears what the service sent, and something that was changed on the way."""
    programs = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (program,) = [one for one in programs if "class Receiver" in one]
    port = a_port()
    (tmp_path / "receiver.py").write_text(program.replace("8000", str(port)))
    assign(service, "guide", ttl=2)
    warning, _ = both(receiver, "guide")
    env = {"WEBHOOK_SECRET": secret_of(service), "PATH": ""}
    with subprocess.Popen([sys.executable, "receiver.py"], cwd=tmp_path, env=env, stdout=subprocess.PIPE) as process:
        try:
            head = {name: value for name, value in warning.head.items() if name.startswith("webhook-")}

            def post(body: bytes) -> int:
                try:
                    return call(port, "POST", PATH, body, head).status
                except OSError:
                    return 0

            assert eventually(lambda: post(warning.body), "it listens") == 204
            assert post(warning.body.replace(b"guide", b"other")) == 401
            head["webhook-timestamp"] = str(int(head["webhook-timestamp"]) - 600)
            assert post(warning.body) == 401
        finally:
            process.terminate()
        assert process.stdout is not None
        assert process.stdout.read() == warning.body + b"\n"


@pytest.mark.usefixtures("service")
def test_what_was_not_sent_when_the_service_was_killed_is_sent_by_the_next(unheard: Running, away: Receiver) -> None:
    assign(unheard, "ada", ttl=2)
    eventually(lambda: len(unheard.rows("SELECT * FROM outbox")) == 2, "both are to be sent")
    unheard.end(signal.SIGKILL)
    with away.listening():
        unheard.start()
        sent = both(away, "ada")
        assert away.types("ada") == BOTH
        assert all(is_signed(one, secret_of(unheard)) for one in sent)
        eventually(lambda: unheard.rows("SELECT * FROM outbox") == [], "nothing is left to send")
        assert len(away.sent) == 2
    assert secret_of(unheard) not in unheard.log
