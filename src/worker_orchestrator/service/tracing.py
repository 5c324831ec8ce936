"""Traces of OpenTelemetry, where the settings ask for them: what sends spans to a collector, and is never in the way.

A thread of the SDK sends what was collected, every five seconds as a rule. What a collector does not take is dropped: the
queue is bounded, and the end of the service waits for `END_S` at most.
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import structlog

from worker_orchestrator import __version__
from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.http.app import App
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.telemetry.foreign_text import plain
from worker_orchestrator.telemetry.redaction import without_secrets

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from worker_orchestrator.control.telling.spans import Spans
    from worker_orchestrator.control.telling.webhook_call import WebhookCalls
    from worker_orchestrator.http.traced import TracedApp

__all__ = ["Tracing", "open_tracing", "traced", "webhook_calls"]

END_S: Final = 2.0
COMPLAINS_EVERY_S: Final = 60.0
_NAME: Final = "worker-orchestrator"
_NEEDED: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_log: Final = structlog.get_logger(__name__)


def open_tracing(settings: Settings, environ: Mapping[str, str] = os.environ) -> Tracing | None:
    """What sends traces; None if the settings do not ask for them, or OTEL_SDK_DISABLED or OTEL_TRACES_EXPORTER forbid it.

    Raises InvalidSetting if a package is missing, or a variable asks for what is not there. Called on the event loop.
    """
    if not settings.traces:
        return None
    if not all(map(_is_there, _NEEDED)):
        raise InvalidSetting(
            "--traces needs packages that are not installed: run `pip install 'worker-orchestrator[otel]'`."
        )
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return None
    if exporter != "otlp":
        raise InvalidSetting(f"OTEL_TRACES_EXPORTER is {exporter!r}, but must be otlp or none.")
    general = environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "")
    protocol = (environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "") or general).strip()
    if protocol not in {"", "http/protobuf"}:
        raise InvalidSetting(
            f"The protocol of OTLP is {protocol!r} by OTEL_EXPORTER_OTLP_PROTOCOL, but must be http/protobuf. Set "
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL to that, and the endpoint to the collector's port for it, 4318 as a rule."
        )
    return Tracing(settings.engine)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it is not there
        return False


class Tracing:
    """The spans, and the way by which they leave."""

    def __init__(self, engine: str) -> None:
        from worker_orchestrator.control.telling.spans import Spans  # noqa: PLC0415 # it needs the extra `otel`

        self._complaints = _Complaints(asyncio.get_running_loop())
        _listen_to_sdk(self._complaints)
        self._provider = _provider()
        self.spans: Spans = Spans(self._provider.get_tracer(_NAME, __version__), engine)

    async def aclose(self) -> None:
        """Send what is left, for `END_S` at most. The SDK itself would wait for thirty seconds."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def send() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # nobody waits any more: the loop is closed
                loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=send, name="last traces", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await sent.wait()


def traced(app: App, tracing: Tracing | None) -> App | TracedApp:
    """This application, with spans if there are any."""
    if tracing is None:
        return app
    from worker_orchestrator.http.traced import TracedApp  # noqa: PLC0415 # as above

    return TracedApp(app, tracing.spans)


def webhook_calls(url: str, key: bytes, tracing: Tracing | None) -> WebhookCalls:
    """The calls of this webhook, with spans if there are any."""
    if tracing is None:
        from worker_orchestrator.control.telling.webhook_call import WebhookCalls  # noqa: PLC0415 # it imports aiohttp, which is slow

        return WebhookCalls(url, key)
    from worker_orchestrator.control.telling.traced_webhook import TracedWebhookCalls  # noqa: PLC0415 # as above

    return TracedWebhookCalls(url, key, tracing.spans)


def _provider() -> TracerProvider:
    """The provider, as the variables of the standard say."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 # as above
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource  # noqa: PLC0415 # as above
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 # as above
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 # as above

    try:
        resource = Resource.create({SERVICE_VERSION: __version__})
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: _NAME}))
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except (OSError, ValueError) as error:  # such as a number that is none, or a certificate that is not there
        raise InvalidSetting(
            f"A variable OTEL_… cannot be used: {plain(error)}. Correct it, or leave it out."
        ) from None
    return provider


def _listen_to_sdk(complaints: logging.Handler) -> None:
    """What the SDK has to say goes through this handler, and nowhere else."""
    logger = logging.getLogger("opentelemetry")
    logger.propagate = False
    logger.handlers[:] = [complaints]
    logger.setLevel(logging.WARNING)


class _Complaints(logging.Handler):
    """Says once a minute, in the service's own log, that traces do not arrive. It is called on the SDK's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop, self._silent_until = loop, 0.0

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now < self._silent_until:
            return
        self._silent_until = now + COMPLAINS_EVERY_S
        why = without_secrets("", plain(record.getMessage()))
        with contextlib.suppress(RuntimeError):  # as above
            self._loop.call_soon_threadsafe(lambda: _log.warning("traces are not exported", why=why))
