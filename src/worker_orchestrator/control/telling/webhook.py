"""Tells the webhook what the outbox of the store holds: at least once, and never at the cost of who asks for a machine.

A message is removed once the receiver has taken it. One that it does not take is tried again with growing pauses, for a day.
What is left at the end of the process is sent by the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from worker_orchestrator.control.telling.observer import Delivery, Observer
from worker_orchestrator.control.telling.webhook_call import WebhookCalls
from worker_orchestrator.control.telling.webhook_queue import KEPT_S, MOST, WebhookQueue
from worker_orchestrator.core.machine import Change
from worker_orchestrator.errors import StoreError
from worker_orchestrator.store.outbox import TOLD, Letter, Outbox

__all__ = ["MOST_AT_ONCE", "PATIENCE_S", "Webhook"]

PATIENCE_S: Final = 300.0
"""A receiver that has taken nothing for so long is a problem."""
MOST_AT_ONCE: Final = 8
STORE_RETRY_S: Final = 1.0
PAGE: Final = 500
SEE: Final = "docs/deadlines.md"

_log = structlog.get_logger(__name__)


class Webhook(Observer):
    """Sends for as long as `run` runs. `counts` hears of each try; `wall_ms` tells the time of day."""

    def __init__(self, outbox: Outbox, calls: WebhookCalls, counts: Observer, wall_ms: Callable[[], int]) -> None:
        super().__init__(counts.now)
        self._outbox, self._calls, self._counts, self._wall_ms = outbox, calls, counts, wall_ms
        self._now = asyncio.get_running_loop().time
        self._queue = WebhookQueue()
        self._news = asyncio.Event()
        self._last_number = 0
        self._under_way = 0
        self._sent: list[int] = []  # and not removed from the outbox yet
        self._failing_since: float | None = None  # the first failure since a message was taken
        self._why = ""
        self._gave_up = False  # since a message was taken
        outbox.is_wanted = True

    def committed(self, changes: Sequence[Change], took_s: float, requests: Sequence[str] = ()) -> None:  # noqa: ARG002 # others measure it
        if any(change.cause in TOLD for change in changes):
            self._news.set()

    @property
    def problem(self) -> str:
        """That nothing has been taken for long, in sentences that say what to do; empty otherwise."""
        since = self._failing_since
        if since is None or self._now() - since < PATIENCE_S:
            return ""
        return (
            f"The webhook on {self._calls.host} has taken no message for {int((self._now() - since) / 60)} minutes "
            f"({self._why}). Messages that wait: {len(self._queue)}. Each is tried again for a day. Make sure that the "
            "receiver runs and answers with a 2xx status."
        )

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._news.clear()
                    self._take_in()
                    now = self._now()
                    while self._under_way < MOST_AT_ONCE and (letter := self._queue.take(now)) is not None:
                        self._under_way += 1
                        tasks.create_task(self._send(letter), name=f"webhook {letter.id}")
                    await self._next_news()
        finally:
            await self._calls.aclose()

    async def _next_news(self) -> None:
        due_at = self._queue.due_at() if self._under_way < MOST_AT_ONCE else None
        pause_s = None if due_at is None else max(0.0, due_at - self._now())
        try:
            async with asyncio.timeout(pause_s):
                await self._news.wait()
        except TimeoutError:
            return

    def _take_in(self) -> None:
        """Queue what is new in the outbox."""
        now, wall_ms = self._now(), self._wall_ms()
        try:
            while page := self._outbox.after(self._last_number, PAGE):
                for letter in page:
                    self._queue.add(letter, now, max(0.0, (wall_ms - letter.at_ms) / 1000))
                self._last_number = page[-1].number
        except StoreError:  # the journal says why
            asyncio.get_running_loop().call_later(STORE_RETRY_S, self._news.set)
        self._give_up(self._queue.give_up_surplus(now), f"more than {MOST} waited")
        self._counts.waiting_for_webhook(len(self._queue))

    async def _send(self, letter: Letter) -> None:
        answer = await self._calls.post(letter, self._wall_ms() // 1000)
        now = self._now()
        self._under_way -= 1
        self._news.set()
        if answer.problem:
            self._note_failure(answer.problem, now)
            if not self._queue.failed(letter, now, answer.pause_s):
                self._give_up([letter.number], f"it was not taken in {KEPT_S / 3600:g} hours")
            return
        self._counts.delivery_ended(Delivery.TAKEN)
        if self._failing_since is not None:
            _log.info("the webhook takes messages again", host=self._calls.host)
        self._failing_since, self._gave_up = None, False
        self._queue.taken(letter, now)
        self._remove([letter.number])

    def _note_failure(self, why: str, now: float) -> None:
        self._counts.delivery_ended(Delivery.FAILED)
        self._why = why
        if self._failing_since is None:
            self._failing_since = now
            _log.warning("the webhook did not take a message, which is tried again", host=self._calls.host, why=why)

    def _give_up(self, numbers: list[int], why: str) -> None:
        for _ in numbers:
            self._counts.delivery_ended(Delivery.GIVEN_UP)
        if numbers:
            self._remove(numbers)
            if not self._gave_up:
                self._gave_up = True
                _log.error("messages to the webhook are given up", host=self._calls.host, why=why, see=SEE)

    def _remove(self, numbers: list[int]) -> None:
        """What cannot be removed now is removed with the next one. After a restart it would be sent a second time."""
        self._sent += numbers
        if self._outbox.remove(self._sent):
            self._sent.clear()
