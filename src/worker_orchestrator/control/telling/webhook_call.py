"""One POST to the webhook, signed as Standard Webhooks says: receivers can verify it with the library of their language.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import (
    ClientError,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    InvalidURL,
    TCPConnector,
)
from yarl import URL

from worker_orchestrator import __version__
from worker_orchestrator.client.failure_reason import reason_of
from worker_orchestrator.store.outbox import Letter

__all__ = ["TIMEOUT_S", "Answer", "WebhookCalls", "signature"]

TIMEOUT_S: Final = 15.0
"""How long a receiver may take to answer."""
_NO_MORE: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `problem` is empty if the message was taken. `pause_s`: what the receiver asked for, 0 if nothing."""

    problem: str = ""
    pause_s: float = 0.0


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of the header. `timestamp`: seconds since 1970, of this try."""
    signed = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(signed).decode()}"


class WebhookCalls:
    """The connections to one receiver. Neither its answers nor the path of its URL, which may be secret, are repeated."""

    def __init__(self, url: str, key: bytes) -> None:
        self._url, self._key = URL(url), key
        self.host = self._url.host or ""
        self._session: ClientSession | None = None

    async def post(self, letter: Letter, timestamp: int, more: Mapping[str, str] = _NO_MORE) -> Answer:
        """Send it once, with these header fields more.

        Redirects are not followed: they would lead elsewhere than the operator said.
        """
        body = letter.body.encode()
        headers = {
            **more,
            "content-type": "application/json",
            "user-agent": f"worker-orchestrator/{__version__}",
            "webhook-id": letter.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._key, letter.id, timestamp, body),
        }
        try:
            async with self._opened().post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                if 200 <= response.status < 300:
                    return Answer()
                wait = response.headers.get("retry-after", "")
                pause_s = float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 10 else 0.0
                return Answer(f"it answered with {response.status}", pause_s)
        except (ClientResponseError, InvalidURL):  # their texts have the URL, and what the receiver sent
            return Answer("its answer is not HTTP, or its URL cannot be called")
        except (ClientError, OSError, ValueError) as error:  # a timeout is an OSError
            return Answer(reason_of(error))

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> ClientSession:
        if self._session is None:
            self._session = ClientSession(
                connector=TCPConnector(limit=0),  # a place in its line would count as time of the receiver
                cookie_jar=DummyCookieJar(),
                auto_decompress=False,
                timeout=ClientTimeout(total=TIMEOUT_S),
            )
        return self._session
