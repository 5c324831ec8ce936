"""The webhook: a real receiver on loopback takes what a real store has, refuses it, keeps silent or is away."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, MutableMapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from aiohttp import web
from msgspec.structs import replace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from tests.simulation.small import Small, lived

from worker_orchestrator.control.reading.prometheus import Metrics
from worker_orchestrator.control.telling import webhook, webhook_call, webhook_queue
from worker_orchestrator.control.telling.observer import Delivery, Observers
from worker_orchestrator.control.telling.spans import Spans
from worker_orchestrator.control.telling.traced_webhook import TracedWebhookCalls
from worker_orchestrator.control.telling.webhook import MOST_AT_ONCE, Webhook
from worker_orchestrator.control.telling.webhook_call import WebhookCalls, signature
from worker_orchestrator.core.lease import EndsBy
from worker_orchestrator.core.machine import Cause, Change, Holding, Machine, State
from worker_orchestrator.http.v1.health import Health
from worker_orchestrator.store.store import Store

KEY = bytes(range(32))
SECRET_PATH = "/hooks/s3cret"


class Receiver:
    """A web server that notes what it is sent and answers with the next of `answers`; then with 204."""

    def __init__(self) -> None:
        self.heads: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.answers: list[int | str] = []
        self.at_once = self.most_at_once = 0
        self.slow_s = 0.0
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.heads.append({name.lower(): value for name, value in request.headers.items()})
            self.bodies.append(await request.read())
            await asyncio.sleep(self.slow_s)
            answer = self.answers.pop(0) if self.answers else 204
            if answer == "hang":
                await asyncio.sleep(60)
            if answer == "redirect":
                raise web.HTTPTemporaryRedirect(f"http://localhost:{self.port}{SECRET_PATH}?elsewhere")
            assert isinstance(answer, int)
            return web.Response(status=answer, text="said by the receiver", headers={"retry-after": "0"})
        finally:
            self.at_once -= 1

    @property
    def projects(self) -> list[str]:
        return [json.loads(body)["project"] for body in self.bodies]


@asynccontextmanager
async def listening(receiver: Receiver) -> AsyncIterator[None]:
    """On the port that it had before, if it had one."""
    app = web.Application()
    app.router.add_post(SECRET_PATH, receiver.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", receiver.port, reuse_address=True)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield
    finally:
        await runner.cleanup()


def expire(store: Store, *projects: str) -> list[Change]:
    """Each of these projects loses a machine."""
    changes = list[Change]()
    for number, project in enumerate(projects, store.commits * 100):
        machine = Machine(f"worker-{number}-aaaaaaaaa", "default", "t", State.READY, 10_000 + number)
        held = replace(machine, holding=Holding(project), generation=number + 1)
        over = replace(machine, state=State.STOPPING, generation=number + 1, reason="Its time was over.")
        store.commit([Change(None, machine, Cause.ADOPTED), Change(machine, held, Cause.ASSIGNED)], {}, 1)
        changes.append(Change(held, over, Cause.EXPIRED, deadline=EndsBy.TTL))
    store.commit(changes, {}, int(time.time() * 1000))
    return changes


async def until(look: Callable[[], object], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not look():  # noqa: ASYNC110 # a receiver sets no event
            await asyncio.sleep(0.005)


class Story:
    """A store with its webhook, which runs, and the receiver."""

    def __init__(self, store: Store) -> None:
        self.store, self.receiver, self.metrics = store, Receiver(), Metrics()
        self.webhook: Webhook
        self.logs: list[MutableMapping[str, Any]] = []
        self.spans: Spans | None = None

    def make(self) -> Webhook:
        url = f"http://user:passw0rd@127.0.0.1:{self.receiver.port}{SECRET_PATH}"
        calls = WebhookCalls(url, KEY) if self.spans is None else TracedWebhookCalls(url, KEY, self.spans)
        counts = Observers(self.metrics)
        self.webhook = Webhook(self.store.outbox, calls, counts, lambda: int(time.time() * 1000))
        return self.webhook

    def expire(self, *projects: str) -> None:
        self.webhook.committed(expire(self.store, *projects), 0.0)

    def counted(self, result: Delivery) -> float:
        return self.metrics._deliveries.of[result]  # what is shown is tested elsewhere

    @property
    def waiting(self) -> int:
        return self.metrics._fleet.webhook_queue

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.make().run())
        try:
            yield
            assert not task.done(), task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Story]:
    kept = structlog.get_config()  # simulations are lived through in silence, and leave it behind
    structlog.reset_defaults()
    monkeypatch.setattr(webhook, "_log", structlog.get_logger())  # one that a test before had bound would not be heard
    monkeypatch.setattr(webhook_queue, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(webhook_call, "TIMEOUT_S", 0.3)
    yield Story(Store(tmp_path / "orchestrator.db"))
    structlog.configure(**kept)


def live(story: Story, told: Callable[[Story], Coroutine[Any, Any, None]]) -> None:
    with structlog.testing.capture_logs() as logs:
        asyncio.run(told(story))
    story.logs += logs
    for secret in ("s3cret", "passw0rd", base64.b64encode(KEY).decode(), "said by"):
        assert secret not in str(logs)
    story.store.close()


def test_the_signature_is_that_of_the_specification() -> None:
    """A vector of its libraries."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_receiver_can_go_on_with_the_trace_of_each_try(story: Story) -> None:
    seen, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(seen))
    story.spans = Spans(provider.get_tracer("test"), "memory")

    async def told(story: Story) -> None:
        story.receiver.answers = [500, 204]
        async with listening(story.receiver), story.running():
            story.expire("p")
            await until(lambda: not story.store.outbox.after(0, 9))

    live(story, told)
    failed, taken = seen.get_finished_spans()
    for span, head in zip((failed, taken), story.receiver.heads, strict=True):
        assert span.context is not None
        assert head["traceparent"].startswith(f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-")
    assert (failed.status.status_code, taken.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert "s3cret" not in failed.to_json() + taken.to_json()


def test_a_message_is_signed_sent_once_and_removed(story: Story) -> None:
    async def told(story: Story) -> None:
        async with listening(story.receiver), story.running():
            story.expire("p")
            await until(lambda: not story.store.outbox.after(0, 9))
            await asyncio.sleep(0.05)
        (head,), (body,) = story.receiver.heads, story.receiver.bodies
        message = json.loads(body)
        assert (message["type"], message["project"], message["id"]) == ("machine.expired", "p", head["webhook-id"])
        assert abs(int(head["webhook-timestamp"]) - time.time()) < 5
        signed = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        assert head["webhook-signature"] == f"v1,{expected}"
        assert head["content-type"] == "application/json"
        assert story.counted(Delivery.TAKEN) == 1

    live(story, told)
    assert story.logs == []


@pytest.mark.parametrize("answer", [500, 404, 410, 302, "redirect", "hang"])
def test_what_is_not_taken_is_sent_again_under_the_same_id(story: Story, answer: int | str) -> None:
    async def told(story: Story) -> None:
        story.receiver.answers = [answer, answer]
        async with listening(story.receiver), story.running():
            story.expire("p")
            await until(lambda: len(story.receiver.bodies) == 3)
            await until(lambda: not story.store.outbox.after(0, 9))
        assert len({head["webhook-id"] for head in story.receiver.heads}) == 1
        assert len(set(story.receiver.bodies)) == 1
        assert (story.counted(Delivery.FAILED), story.counted(Delivery.TAKEN)) == (2, 1)

    live(story, told)
    assert [line["event"] for line in story.logs] == [
        "the webhook did not take a message, which is tried again",
        "the webhook takes messages again",
    ]


def test_what_answers_in_no_http_is_told_without_its_words(story: Story) -> None:
    """Nor with the URL, which may have a secret in it."""

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"SSH-2.0 said by the other program\r\n\r\n")
        await writer.drain()
        writer.close()

    async def told(story: Story) -> None:
        server = await asyncio.start_server(other, "127.0.0.1", 0)
        story.receiver.port = server.sockets[0].getsockname()[1]
        async with server, story.running():
            story.expire("p")
            await until(lambda: story.counted(Delivery.FAILED) >= 1)

    live(story, told)
    assert "its answer is not HTTP" in str(story.logs[0])


def test_while_the_receiver_is_away_all_is_kept_and_a_restart_sends_it(story: Story) -> None:
    async def told(story: Story) -> None:
        async with listening(story.receiver):
            pass  # now the port is known, and nobody listens there
        async with story.running():
            story.expire("p", "q")
            await until(lambda: story.counted(Delivery.FAILED) >= 3)
            assert story.waiting == 2
        assert len(story.store.outbox.after(0, 9)) == 2
        async with listening(story.receiver), story.running():
            await until(lambda: not story.store.outbox.after(0, 9) and story.waiting == 0)
        assert sorted(story.receiver.projects) == ["p", "q"]

    live(story, told)


def test_few_are_sent_at_once_and_those_of_a_project_in_their_order(story: Story) -> None:
    async def told(story: Story) -> None:
        story.receiver.slow_s, story.receiver.answers = 0.01, [500] * 5
        async with listening(story.receiver), story.running():
            for _ in range(3):
                story.expire(*(f"p{number}" for number in range(20)))
            await until(lambda: not story.store.outbox.after(0, 9), within_s=20)
        assert 1 < story.receiver.most_at_once <= MOST_AT_ONCE
        generations = dict[str, list[int]]()
        for body in story.receiver.bodies:
            message = json.loads(body)
            generations.setdefault(message["project"], []).append(message["generation"])
        assert all(of_one == sorted(of_one) for of_one in generations.values())
        assert story.counted(Delivery.TAKEN) == 60

    live(story, told)


def test_what_is_too_old_or_too_much_is_given_up_and_told_once(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_queue, "MOST", 3)

    async def told(story: Story) -> None:
        async with listening(story.receiver):
            pass
        async with story.running():
            story.expire(*"pqrst")
            await until(lambda: story.counted(Delivery.GIVEN_UP) == 2)
            assert [one.project for one in story.store.outbox.after(0, 9)] == ["r", "s", "t"]
        monkeypatch.setattr(webhook_queue, "KEPT_S", 0.0)
        async with story.running():
            await until(lambda: story.counted(Delivery.GIVEN_UP) == 5)
            await until(lambda: not story.store.outbox.after(0, 9))

    live(story, told)
    given_up = [line for line in story.logs if line["event"] == "messages to the webhook are given up"]
    assert [line["log_level"] for line in given_up] == ["error", "error"], "once in each run"


def test_a_receiver_that_takes_nothing_for_long_is_a_problem(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "PATIENCE_S", 0.1)

    async def told(story: Story) -> None:
        story.receiver.answers = [500] * 8
        async with listening(story.receiver), story.running():
            assert story.webhook.problem == ""
            story.expire("p")
            await until(lambda: story.webhook.problem)
            assert story.webhook.problem == (
                "The webhook on 127.0.0.1 has taken no message for 0 minutes (it answered with 500). Messages that wait: 1. "
                "Each is tried again for a day. Make sure that the receiver runs and answers with a 2xx status."
            )
            await until(lambda: not story.store.outbox.after(0, 9))
            assert story.webhook.problem == ""

    live(story, told)


def test_while_the_database_cannot_be_read_or_written_nothing_is_lost(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "STORE_RETRY_S", 0.01)

    async def told(story: Story) -> None:
        async with listening(story.receiver), story.running():
            await asyncio.sleep(0.01)
            changes = expire(story.store, "p")
            story.store._db.execute("ALTER TABLE outbox RENAME TO hidden")
            story.webhook.committed(changes, 0.0)
            await asyncio.sleep(0.05)
            assert story.receiver.bodies == []
            story.store._db.execute("ALTER TABLE hidden RENAME TO outbox")
            story.store._db.execute("PRAGMA query_only = 1")
            await until(lambda: story.receiver.bodies)
            await asyncio.sleep(0.05)
            assert len(story.store.outbox.after(0, 9)) == 1, "it could not be removed"
            story.store._db.execute("PRAGMA query_only = 0")
            story.expire("q")
            await until(lambda: not story.store.outbox.after(0, 9))
        assert story.receiver.projects == ["p", "q"]

    live(story, told)


def test_a_change_that_is_not_told_wakes_nobody(story: Story) -> None:
    async def told(story: Story) -> None:
        made = story.make()
        (expired,) = expire(story.store, "p")
        assert expired.before is not None
        made.committed([Change(replace(expired.before, holding=None), expired.before, Cause.ASSIGNED)], 0.0)
        assert not made._news.is_set()
        made.committed([expired], 0.0)
        assert made._news.is_set()

    live(story, told)


def test_the_health_of_the_service_has_the_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """But it goes on giving machines to projects."""

    async def told(small: Small) -> None:
        await small.await_idle(2)
        made = Webhook(small.store.outbox, WebhookCalls("http://a.example", KEY), small.metrics, small.clock.wall_ms)
        health = Health(small.orchestrator, "memory", "orchestrator recover", made)
        made._note_failure("connection refused", small.clock._loop.time())
        assert health.problems() == []
        await asyncio.sleep(webhook.PATIENCE_S)
        (problem,) = health.problems()
        assert problem.startswith("The webhook on a.example has taken no message for 5 minutes (connection refused).")
        assert health.obstacles() == []

    lived(told)
