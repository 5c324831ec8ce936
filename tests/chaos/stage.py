"""Where the chaos plays: a private dockerd, the service under a supervisor that restarts it, its state on a small disk."""

from __future__ import annotations

import http.client
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, RLock, Thread
from typing import Final

from tests.chaos.configured import ConfiguredModel
from tests.chaos.gate import Gate
from tests.chaos.harm import Harm, Kind, Span
from tests.chaos.model import Model, Row
from tests.chaos.timeline import Timeline
from tests.chaos.values import LATE, PLANTED, settings
from tests.integration.calling import call
from tests.integration.daemon import Daemon
from tests.integration.docker_command import LABEL, docker
from tests.integration.running import Running

__all__ = ["BALLAST", "MAX_MACHINES", "MIN_IDLE", "PARKED", "Stage"]

MIN_IDLE: Final = {"default": 3, LATE: 2}
PARKED: Final = {"default": 3, LATE: 2}
MAX_IDLE: Final = {"default": 5, LATE: 3}
MAX_MACHINES: Final = 22
"""Fewer than all projects and all reserves need, and enough for what is left in the end."""
PARKED_CHECK_S: Final = 8
FLAGS: Final = ("--assign-timeout", "5", "--refresh-interval", "1", "--start-timeout", "30")
DISK: Final = "12m"
BALLAST: Final = "ballast"
START_S: Final = 40.0
"""So long may a start take on this loaded machine, while nothing hinders it."""
STOP_S: Final = 20.0
TOLD_S: Final = 1.0
"""For the service to write what its tasks wait for."""
PAUSE_S: Final = 0.05
RETRY_S: Final = 0.5
PATIENCE_S: Final = 5.0
SERVICE: Final = Path(__file__).with_name("chaotic_service.py")
_HINDERS: Final = (Kind.DAEMON_DOWN, Kind.DAEMON_FROZEN, Kind.DISK)
_ROWS: Final = """
SELECT id, state, project, port, gone, reason, pool, configuration LIKE '%"stage":"done"%', generation FROM machine
"""


@dataclass(slots=True)
class Stage:
    """What faults work on. The supervisor is a thread: it judges each start and each end of the service.

    `inside` is held by whoever runs a program in a container, or pauses some; `setups` knows of those that the service runs.
    """

    daemon: Daemon
    service: Running
    timeline: Timeline
    harm: Harm
    model: Model
    configured: ConfiguredModel
    replaces: bool  # a machine goes with a set-up that failed
    is_adaptive: bool  # the sizes of the pool `default` follow demand
    wanted: bool = True
    inside: Lock = field(default_factory=Lock)
    setups: Gate = field(default_factory=Gate)
    _down: Span | None = None
    _begun_at: float = 0.0
    _log_from: int = 0
    _log_seen: int = 0
    _closing: Event = field(default_factory=Event)
    _lock: RLock = field(default_factory=RLock)
    _supervisor: Thread | None = None
    owner: str = ""

    @classmethod
    def prepare(  # what varies from run to run
        cls, daemon: Daemon, folder: Path, image: str, on_release: str, on_failure: str, sizing: str
    ) -> Stage:
        sizes = {"--min-idle": MIN_IDLE, "--max-idle": MAX_IDLE, "--parked": PARKED}
        own = [word for flag, by_pool in sizes.items() for word in (flag, str(by_pool["default"]))]
        own += ["--parked-check", str(PARKED_CHECK_S), "--shrink-after", "2", "--sizing", sizing]
        limit = ("--max-machines", str(MAX_MACHINES), "--on-release", on_release)
        service = Running(folder, ("--image", image, *own, *limit, *FLAGS), daemon.host)
        service.state_dir.mkdir(parents=True)
        mount("-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(service.state_dir))
        (folder / "offset").write_text("0", encoding="ascii")
        late = {"min_idle": MIN_IDLE[LATE], "max_idle": MAX_IDLE[LATE], "parked": PARKED[LATE]}
        table = settings({**late, "parked_check_s": PARKED_CHECK_S}, on_failure)
        (folder / "orchestrator.toml").write_text(table, encoding="ascii")
        harm = Harm()
        model = Model(harm, MAX_MACHINES)
        configured, is_adaptive = ConfiguredModel(model), sizing == "adaptive"
        return cls(daemon, service, Timeline(), harm, model, configured, on_failure == "replace", is_adaptive)

    # the supervisor

    def open(self) -> None:
        self._down = self.harm.begin(Kind.SERVICE_DOWN)
        self._supervisor = Thread(target=self._supervise)
        self._supervisor.start()

    def close(self) -> None:
        self._closing.set()
        if self._supervisor is not None:
            self._supervisor.join()
        if self.service.process is not None:
            self.service.end(signal.SIGKILL)

    def _supervise(self) -> None:
        try:
            while not self._closing.wait(PAUSE_S):
                with self._lock:
                    self._look()
        except Exception as error:
            self.model.fail(f"the supervisor failed: {error!r}")
            raise

    def _look(self) -> None:
        process = self.service.process
        if process is None:
            if self.wanted and time.monotonic() > self._begun_at + RETRY_S:
                self._start()
        elif (code := process.poll()) is not None:
            self.service.process = None
            self._judge_end(code)
        elif self._down is not None:
            self._judge_start()

    def _start(self) -> None:
        self._begun_at = time.monotonic()
        self._log_from = len(self.service.log)
        offset = str(self.service.folder / "offset")
        self.service.start(command=(sys.executable, str(SERVICE), offset), await_answer=False)

    def _judge_start(self) -> None:
        try:
            answers = self.service.get("/", timeout_s=1).status == 200
        except OSError:
            answers = False
        if answers:
            assert self._down is not None, "it was down a moment ago"
            self.harm.end(self._down)
            self._down = None
            self.owner = self.owner or self.service.owner
            self.timeline.fault(f"  the service is up, {time.monotonic() - self._begun_at:.1f} s after its start")
        elif time.monotonic() > self._begun_at + START_S:
            hindered = self.harm.done(*_HINDERS, since=self._begun_at)
            self.model.check(hindered, f"the service did not come up within {START_S:g} s, and nothing hindered it")

    def _judge_end(self, code: int) -> None:
        if self._down is None:
            self.model.fail(f"the service ended by itself, with exit code {code}")
            self._down = self.harm.begin(Kind.SERVICE_DOWN)
            return
        said = self._last_words()
        self.timeline.count("refused starts")
        sentence = said.partition("\n")[0]
        self.timeline.fault(f"  the service refused to start ({code}): {sentence}")
        self.model.check(self.harm.done(*_HINDERS, since=self._begun_at), f"a start failed for no reason:\n{said}")
        well_put = code == 1 and sentence.startswith("orchestrator: ") and said.count("orchestrator: ") == 1
        self.model.check(
            well_put and "Traceback" not in said, f"a refusal that is no sentence (exit code {code}):\n{said}"
        )

    def _last_words(self) -> str:
        """What this life wrote. The log has a writer of its own, which may be a moment late."""
        deadline = time.monotonic() + 1
        while not (said := self.service.log[self._log_from :].strip()) and time.monotonic() < deadline:
            time.sleep(PAUSE_S)
        return said

    # what faults do to the service

    def end_service(self, how: signal.Signals) -> str:
        """Returns how it went. It stays down until `wanted` is set again."""
        with self._lock:
            self.wanted = False
            process = self.service.process
            if process is None:
                return "was down already"
            was_up, begun_at = self._down is None, time.monotonic()
            self._down = self._down or self.harm.begin(Kind.SERVICE_DOWN)
            process.send_signal(how)
            try:
                code = process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.model.fail(f"the service did not stop within {STOP_S:g} s of {how.name}")
                process.send_signal(signal.SIGUSR2)
                time.sleep(TOLD_S)
                process.kill()
                code = process.wait()
            self.service.process = None
            took_s = time.monotonic() - begun_at
            if was_up and how is signal.SIGTERM:
                self.model.check(code == 0, f"the service stopped with exit code {code}")
            return f"ended with {code} after {took_s:.1f} s"

    def want_service(self) -> None:
        with self._lock:
            self.wanted, self._begun_at = True, 0.0

    def with_process(self, act: Callable[[subprocess.Popen[bytes]], None]) -> bool:
        """Do something to the process of the service; False if there is none."""
        with self._lock:
            process = self.service.process
            if process is None or process.poll() is not None:
                return False
            act(process)
            return True

    @property
    def is_up(self) -> bool:
        return self._down is None

    # looking

    def rows(self) -> Sequence[Row] | None:
        """The record, or None where it cannot be read now."""
        try:
            found = self.service.rows(_ROWS)
        except sqlite3.Error as error:
            self.timeline.count(f"unreadable {error}")
            return None
        return [
            Row(name, state, project, port, bool(gone), why, pool, bool(is_configured), generation)
            for name, state, project, port, gone, why, pool, is_configured, generation in found
        ]

    @property
    def docker_answers(self) -> bool:
        return not self.harm.done(Kind.DAEMON_DOWN, Kind.DAEMON_FROZEN, since=time.monotonic())

    def containers(self) -> Mapping[str, str]:
        """Id and status of each container of ours."""
        by_owner = ("--filter", f"label={LABEL}.owner={self.owner}")
        lines = docker(
            "ps", "-a", *by_owner, "--format", "{{.Names}} {{.State}}", host=self.daemon.host
        ).out.splitlines()
        return dict(line.split(maxsplit=1) for line in lines)

    def resize(self, pool: str, parked: int | None) -> bool:
        """Have so many parked machines in this pool (None: as its settings say). False if the service did not do that."""
        try:
            path, body = f"/v1/pools/{pool}", {"parked": parked}
            answer = call(self.service.ports.api, "PATCH", path, body, timeout_s=PATIENCE_S)
        except (OSError, http.client.HTTPException):
            return False
        self.timeline.count(f"resized {answer.status}")
        return answer.status == 200

    def addresses(self, *containers: str) -> list[str]:
        """The address that the engine gave each of these, with the name of its container."""
        words = (
            "inspect",
            "--format",
            "{{.Name}} {{.State.Status}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
        )
        return docker(*words, *containers, host=self.daemon.host, check=False).out.splitlines()

    def check(self) -> None:
        """All that must hold at any time."""
        if not self.owner:
            return
        containers = self.containers() if self.docker_answers else None
        before = self.model.sure()
        rows = self.rows()
        if rows is not None:
            self.model.check_rows(rows, before)
            self.configured.check_rows(rows, before)
            if containers is not None:
                self.model.check_containers(containers, rows)
        log = self.service.log
        fresh, self._log_seen = log[self._log_seen :], len(log)
        for word in ("Traceback", "defect", "Exception"):
            self.model.check(word not in fresh, f"the log speaks of a {word}")
        stored = [name for name, content in self.stored() if PLANTED.encode() in content]
        self.model.check(not stored and PLANTED not in fresh, f"a value is in {stored or 'the log'}")

    def stored(self) -> Iterator[tuple[str, bytes]]:
        """What is in the state directory now, but for what fills its disk."""
        for file in self.service.state_dir.iterdir():
            with suppress(FileNotFoundError):
                if file.is_file() and file.name != BALLAST:
                    yield file.name, file.read_bytes()


def mount(*words: str) -> bool:
    return subprocess.run(["mount", *words], check=False, capture_output=True).returncode == 0
