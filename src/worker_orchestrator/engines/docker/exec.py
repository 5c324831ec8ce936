"""Commands in a container, from their start to their end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

from aiodocker.stream import Message

from worker_orchestrator.engines.docker.attach import Attached, Command
from worker_orchestrator.engines.docker.calls import docker_message, reading
from worker_orchestrator.engines.docker.connect import Endpoint
from worker_orchestrator.engines.docker.connector import Client
from worker_orchestrator.engines.docker.dialect import DOCKER, Dialect
from worker_orchestrator.engines.docker.reach import DockerReach
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.docker.unstarted import Unstarted, goes_on, may_be_refusal, unstarted
from worker_orchestrator.engines.extras import Completed, ExecOutput
from worker_orchestrator.engines.kept_output import KeptOutput
from worker_orchestrator.errors import EngineError, EngineRejected, EngineUnavailable

__all__ = ["DockerExec"]

_STDERR: Final = 2
_ANSWERS_WITHIN_S: Final = 1.0
_FIRST_BYTES: Final = 'head -c "$0" | "$@"'


class DockerExec(DockerReach):
    """Runs commands in containers."""

    def __init__(
        self,
        endpoint: Endpoint,
        client: Client,
        owner: str,
        options: Mapping[str, DockerOptions],
        dialect: Dialect = DOCKER,
    ) -> None:
        super().__init__(endpoint, client, owner, options, dialect)
        self._ending: set[asyncio.Future[None]] = set()

    async def exec(
        self,
        machine_id: str,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        user: str = "",
        workdir: str = "",
        timeout_s: float = 60.0,
    ) -> Completed:
        kept = KeptOutput()
        code = await self.exec_into(
            machine_id, command, kept, stdin=stdin, env=env, user=user, workdir=workdir, timeout_s=timeout_s
        )
        return kept.completed(code)

    async def exec_into(  # noqa: PLR0913 # one for each property of a command
        self,
        machine_id: str,
        command: Sequence[str],
        output: ExecOutput,
        *,
        stdin: bytes | AsyncIterator[bytes] = b"",
        env: Mapping[str, str] | None = None,
        user: str = "",
        workdir: str = "",
        timeout_s: float = 60.0,
        leaves: bool = False,
    ) -> int | None:
        ends_at = asyncio.get_running_loop().time() + timeout_s
        if (native_id := await self._running_container(ends_at, machine_id, timeout_s)) is None:
            return None
        if isinstance(stdin, bytes) and stdin and not self._can_end_input:
            command = ["sh", "-c", _FIRST_BYTES, str(len(stdin)), *command]  # a shell knows the length
        attached = Attached(self._open_aside(), machine_id, native_id, self._programs, is_local=self._endpoint.is_local)
        screened = _Screened(output, what := Command(command, env, user, workdir))
        code, limit = None, asyncio.timeout_at(ends_at)
        try:
            try:
                async with limit:
                    await attached.start(what, stdin=bool(stdin))
                    output.started()
                    code = await _run(attached, stdin, screened)
            except TimeoutError:
                if not limit.expired():
                    raise
        except BaseException as error:
            with contextlib.suppress(EngineError):
                await attached.aclose()
            if isinstance(error, EngineRejected) and (code := screened.refused(error)) is not None:
                return code
            raise
        keep = screened.keep
        await (self._end(attached, timeout_s, keep) if limit.expired() else attached.aclose(keep, leaves=leaves))
        return screened.ended(code)

    async def _running_container(self, ends_at: float, machine_id: str, timeout_s: float) -> str | None:
        """The id of the running container; None if Docker answers, and the command had too little time to be started.

        Raises EngineUnavailable if Docker does not answer.
        """
        try:
            async with asyncio.timeout_at(ends_at):
                return await self._own(machine_id, running=True)
        except TimeoutError:
            if timeout_s < _ANSWERS_WITHIN_S and await self._answers():
                return None
            raise EngineUnavailable(
                f"{self._dialect.name} does not answer, and within {timeout_s:g} s nothing was started."
            ) from None

    async def _end(self, attached: Attached, timeout_s: float, keep: Callable[[Message], None]) -> None:
        """End a command whose time is up, and `keep` what it writes until then.

        Raises EngineError if that cannot be done now. If Docker does not answer, it goes on, since a start may still land.
        """
        ending, answers = asyncio.ensure_future(attached.aclose(keep)), asyncio.ensure_future(self._answers())
        self._ending.add(ending)
        ending.add_done_callback(self._ended)
        try:
            await asyncio.wait({ending, answers}, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done() and not answers.result():
                raise EngineUnavailable(
                    f"{self._dialect.name} does not answer. The time of the command ({timeout_s:g} s) is up, and it may "
                    "run on."
                )
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            with contextlib.suppress(EngineError):
                await attached.aclose()
            raise
        finally:
            answers.cancel()

    def _ended(self, ending: asyncio.Future[None]) -> None:
        self._ending.discard(ending)
        if not ending.cancelled():
            ending.exception()  # perhaps nobody waits for it any more

    async def _answers(self) -> bool:
        """Whether Docker answers anything at all, within a second."""
        try:
            with reading():
                async with asyncio.timeout(_ANSWERS_WITHIN_S):
                    await self.ping()
        except EngineError:
            return False
        return True


async def _run(attached: Attached, stdin: bytes | AsyncIterator[bytes], screened: _Screened) -> int | None:
    feeding = asyncio.create_task(_feed(attached, stdin))  # beside the reading: it may write before it has read all
    try:
        while (message := await attached.read()) is not None:
            await screened.take(message)
    finally:
        feeding.cancel()
        await asyncio.wait({feeding})
    return await attached.exit_code()


async def _feed(attached: Attached, stdin: bytes | AsyncIterator[bytes]) -> None:
    if not stdin:
        return
    if isinstance(stdin, bytes):
        await attached.write(stdin)
    else:
        async for piece in stdin:
            await attached.write(piece)
    attached.end_input()


class _Screened:
    """Passes output on, but for a first message that Docker may have written in place of the command."""

    def __init__(self, output: ExecOutput, command: Command) -> None:
        self._output, self._command = output, command
        self._is_first = True
        self._held: list[Message] = []

    async def take(self, message: Message) -> None:
        for each in self._due(message):
            await self._output.take(_name(each), each.data)

    def keep(self, message: Message) -> None:
        for each in self._due(message):
            self._output.keep(_name(each), each.data)

    def ended(self, exit_code: int | None) -> int | None:
        """The exit code. What was held back is passed on, or replaced by a sentence that says what it means."""
        if not self._held:
            return exit_code
        said = self._held[0].data.decode(errors="replace")
        meaning = None if exit_code is None else self._meaning(said, exit_code)
        if meaning is not None:
            return self._told(meaning)
        for held in self._held:
            self._output.keep(_name(held), held.data)
        return exit_code

    def refused(self, error: EngineRejected) -> int | None:
        """The exit code, if Docker refused the start for a cause that lies in the command."""
        meaning = self._meaning(docker_message(error), None)
        return None if meaning is None else self._told(meaning)

    def _meaning(self, said: str, exit_code: int | None) -> Unstarted | None:
        what = self._command
        return unstarted(said, exit_code, what.words, user=what.user, workdir=what.workdir)

    def _told(self, meaning: Unstarted) -> int:
        self._output.keep("stderr", meaning.sentence.encode())
        return meaning.exit_code

    def _due(self, message: Message) -> list[Message]:
        """What is to be passed on now, in order."""
        if self._is_first and may_be_refusal(message.data, is_error=message.stream == _STDERR):
            self._is_first, self._held = False, [message]
            return []
        if len(self._held) == 1 and message.stream == _STDERR and goes_on(message.data):
            self._held.append(message)
            return []
        due, self._held, self._is_first = [*self._held, message], [], False
        return due


def _name(message: Message) -> str:
    return "stderr" if message.stream == _STDERR else "stdout"
