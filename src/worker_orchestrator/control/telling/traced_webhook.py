"""Messages to the webhook with a span for each try, and with the header fields by which the receiver can go on with it."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.trace import Status, StatusCode

from worker_orchestrator.control.telling.spans import Spans
from worker_orchestrator.control.telling.webhook_call import Answer, WebhookCalls
from worker_orchestrator.store.outbox import Letter

__all__ = ["TracedWebhookCalls"]


class TracedWebhookCalls(WebhookCalls):
    """As the other ones. The path of the URL, which may be secret, is in no span."""

    def __init__(self, url: str, key: bytes, spans: Spans) -> None:
        super().__init__(url, key)
        self._spans = spans

    async def post(self, letter: Letter, timestamp: int, more: Mapping[str, str] | None = None) -> Answer:
        with self._spans.delivery(self.host) as (span, fields):
            answer = await super().post(letter, timestamp, {**(more or {}), **fields})
            if answer.problem:
                span.set_status(Status(StatusCode.ERROR, answer.problem))
        return answer
