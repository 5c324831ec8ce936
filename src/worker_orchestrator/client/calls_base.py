"""The base of all operations: send a request, check the reply, and decode it into its shape."""

from __future__ import annotations

from typing import TypeVar

from worker_orchestrator.client.call_steps import Emit, Flow, NoReply, Request, Steps
from worker_orchestrator.client.reply_decoding import decode_reply, error_of, unreachable
from worker_orchestrator.client.retries import FinalReply, Service, read_piece, send_with_retries
from worker_orchestrator.client.service_address import find_token, find_url
from worker_orchestrator.errors import GenerationMismatch, InvalidInput, MachineNotFound, OrchestratorError

__all__ = ["CallsBase", "was_done_before"]

_T = TypeVar("_T")


class CallsBase:
    """A service, and how to call it.

    All operations raise the service's own errors (`worker_orchestrator.errors`) and, where the call itself fails, CallFailed
    or one of its kinds: ServiceUnreachable, Unauthorized, TooManyRequests, Forbidden.
    """

    def __init__(
        self, url: str | None = None, *, token: str | None = None, timeout_s: float = 60.0, retries: int = 6
    ) -> None:
        """Connects to nothing yet.

        `url`: else ORCHESTRATOR_URL, else http://localhost:9092. `token`: else ORCHESTRATOR_TOKEN, else the content of the
        file that ORCHESTRATOR_TOKEN_FILE names. `timeout_s`: how long a call may take, with all its tries but without the
        time that the service was asked to wait. `retries`: how many more times a call is tried, 0 for never; six of them
        bridge a restart of the service, which takes it a few seconds on a busy computer.

        Raises InvalidSetting, InvalidInput.
        """
        if timeout_s <= 0 or retries < 0:
            raise InvalidInput(f"timeout_s must be above 0 and retries at least 0, not {timeout_s!r} and {retries!r}.")
        self._service = Service(find_url(url), timeout_s, retries)
        token = find_token(token)
        self._headers = {"user-agent": "worker-orchestrator-client", "accept-encoding": "identity"}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"

    @property
    def url(self) -> str:
        """The address of the service."""
        return self._service.url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    # for the operations

    def _get(self, path: str, shape: type[_T], query: tuple[tuple[str, str], ...] = ()) -> Steps[_T]:
        return (yield from self._send(Request(method="GET", path=path, query=query), shape))

    def _pieces(self, request: Request, silence_s: float | None) -> Flow[bytes]:
        self._check((yield from send_with_retries(request, self._service, streamed=True, silence_s=silence_s)))
        while piece := (yield from read_piece()):
            if isinstance(piece, NoReply):
                raise unreachable(piece, self.url)
            yield Emit(piece)

    def _send(self, request: Request, shape: type[_T]) -> Steps[_T]:
        return self._decode((yield from send_with_retries(request, self._service)), shape)

    def _decode(self, final: FinalReply, shape: type[_T]) -> _T:
        self._check(final)
        return decode_reply(final.reply, shape, self.url)

    def _check(self, final: FinalReply) -> None:
        if error := self._error_of(final):
            raise error

    def _error_of(self, final: FinalReply) -> OrchestratorError | None:
        return error_of(final.reply, self.url, with_token="authorization" in self._headers)


def was_done_before(final: FinalReply, error: OrchestratorError | None) -> bool:
    """Whether an earlier try was carried out and its reply lost, so that the last try found nothing left to do."""
    return final.earlier_reply_lost and isinstance(error, (MachineNotFound, GenerationMismatch))
