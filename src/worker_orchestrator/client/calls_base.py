"""What every operation is made of: ask, check, and read the reply as what it is."""

from __future__ import annotations

from typing import TypeVar

from worker_orchestrator.client.call_steps import Emit, Flow, Lost, Request, Steps
from worker_orchestrator.client.reply_decoding import decoded, error_in, unreachable
from worker_orchestrator.client.retries import Answer, Service, exchange, read
from worker_orchestrator.client.service_address import find_token, find_url
from worker_orchestrator.errors import GenerationMismatch, InvalidInput, MachineNotFound, OrchestratorError

__all__ = ["Asking", "was_done"]

_T = TypeVar("_T")


class Asking:
    """A service, and how it is asked.

    All operations raise the service's own errors (`worker_orchestrator.errors`) and, where the call itself fails,
    CallFailed: ServiceUnreachable, Unauthorized, TooManyRequests and Forbidden are of that kind.
    """

    def __init__(
        self, url: str | None = None, *, token: str | None = None, timeout_s: float = 60.0, retries: int = 6
    ) -> None:
        """Connects to nothing yet.

        `url`: else ORCHESTRATOR_URL, else http://localhost:9092. `token`: else ORCHESTRATOR_TOKEN, else what the file named
        by ORCHESTRATOR_TOKEN_FILE holds. `timeout_s`: how long a call may take, with all its tries but without the time
        that the service was asked to wait. `retries`: how many more times a call is tried, 0 for never; six of them bridge
        a restart of the service, which takes it a few seconds on a busy computer.

        Raises InvalidSetting.
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
        return (yield from self._ask(Request(method="GET", path=path, query=query), shape))

    def _pieces(self, request: Request, silence_s: float | None) -> Flow[bytes]:
        self._check((yield from exchange(request, self._service, streamed=True, silence_s=silence_s)))
        while piece := (yield from read()):
            if isinstance(piece, Lost):
                raise unreachable(piece, self.url)
            yield Emit(piece)

    def _ask(self, request: Request, shape: type[_T]) -> Steps[_T]:
        return self._decoded((yield from exchange(request, self._service)), shape)

    def _decoded(self, answer: Answer, shape: type[_T]) -> _T:
        self._check(answer)
        return decoded(answer.reply, shape, self.url)

    def _check(self, answer: Answer) -> None:
        if error := self._error_in(answer):
            raise error

    def _error_in(self, answer: Answer) -> OrchestratorError | None:
        return error_in(answer.reply, self.url, with_token="authorization" in self._headers)


def was_done(answer: Answer, error: OrchestratorError | None) -> bool:
    """Whether an earlier try did it, whose reply was lost: then there is nothing left to do now."""
    return answer.lost_before and isinstance(error, (MachineNotFound, GenerationMismatch))
