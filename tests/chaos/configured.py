"""What must hold of machines that their projects configure: what these are told, what they see inside, what is on record.

Chaos ends a container by a kill or with the daemon, and nothing else does. So nothing else may lose what is in its memory.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos.given import Given, Known
from tests.chaos.harm import Harm, Kind
from tests.chaos.looking import Look
from tests.chaos.model import Model, Project, Row, Sure
from tests.chaos.values import FAILS_WITH, Values
from tests.integration.calling import Answer

__all__ = ["Ask", "ConfiguredModel"]

STALE_S: Final = 20.0
"""So soon it must be on record that what was in memory is gone, counted only while nothing hinders that."""
AFTER_S: Final = 3.0
"""What was harmed may be felt for so long afterwards."""
CERTAINTY_S: Final = 40.0
"""A service that was started, or that lost its daemon or its disk, may give no machine for so long."""
RESTART_S: Final = 300.0
"""The longest pause before a restart, and a start time-out."""
_HINDERS: Final = (Kind.SERVICE_FROZEN, Kind.DAEMON_DOWN, Kind.DAEMON_DYING, Kind.DAEMON_FROZEN, Kind.DISK)
_EVERYWHERE: Final = (*_HINDERS, Kind.SERVICE_DOWN)
_DEADLY: Final = (Kind.KILLED, Kind.REMOVED, Kind.PAUSED)


@dataclass(frozen=True, slots=True)
class Ask:
    """One assign of a project, as things were when it was sent: the machine, what that had, and what may have been in it."""

    project: Project
    values: Values | None
    replaces: bool
    at: float
    machine: str | None
    port: int
    done: Values | None
    done_at: float
    had: tuple[Values, ...]

    def __str__(self) -> str:
        sent = "" if self.values is None else f" with {self.values}{' instead' if self.replaces else ''}"
        return f"assign {self.project.name}{sent}"


@dataclass(slots=True)
class ConfiguredModel:
    """Judges what `model` does not: whatever has to do with configuration."""

    model: Model
    _stale_s: dict[str, float] = field(default_factory=dict)
    _looked_at: float = field(default_factory=time.monotonic)

    @property
    def harm(self) -> Harm:
        return self.model.harm

    # what is asked and told

    def asks(self, project: Project, values: Values | None, *, replaces: bool) -> Ask:
        given = project.given
        ask = Ask(
            project,
            values,
            replaces,
            time.monotonic(),
            project.machine,
            project.port,
            given.done,
            given.asked_at,
            tuple(given.possible),
        )
        if values is not None:
            given.sends(values)
        return ask

    def told(self, ask: Ask, reply: Any) -> None:
        """It was answered with a machine; `told_generation` was told before."""
        given, values, configured, setup = ask.project.given, ask.values, reply["configured"], reply.get("setup")
        if values is None:
            self.shown(ask.project, reply)
            return
        check = self.model.check
        check(values.ends_well, f"{ask}: the hook fails, and the answer is {configured}")
        kept = ask.done is not None and ask.done is not values and not ask.replaces
        check(not kept or self._lost(ask.machine, ask.done_at), f"{ask}: it has {ask.done}, and was configured anew")
        check(bool(configured) or self._is_troubled(ask), f"{ask}: told that it is not configured")
        check(setup is not None and setup["exit_code"] == 0, f"{ask}: the set-up is told as {setup}")
        self._may_have_run(ask)
        given.answered(Known.DONE if configured else Known.UNSURE, values, ask.at, time.monotonic())

    def _may_have_run(self, ask: Ask) -> None:
        assert ask.values is not None, "there is no hook without values"
        if ask.done is not ask.values or self._lost(ask.machine, ask.done_at):
            ask.values.most_runs += 1

    def unanswered(self, ask: Ask) -> None:
        """Nobody knows how it ended."""
        if ask.values is not None:
            self._may_have_run(ask)
            ask.project.given.answered(Known.UNSURE, None, ask.at, time.monotonic())

    def refused(self, ask: Ask, status: int, problem: Any) -> None:
        """It was answered with an error, which must have a cause."""
        code = problem["code"]
        self.model.check(self._has_cause(ask, status, problem), f"{ask}: {status} {code}, for no reason: {problem}")
        if ask.values is None:
            return
        given = ask.project.given
        if self.not_begun(ask, code):
            given.fresh.remove(ask.values)
            return
        self._may_have_run(ask)
        failed = self.hook_failed(ask, status, problem)
        given.answered(Known.FAILED if failed else Known.UNSURE, ask.values, ask.at, time.monotonic())

    def beside(self, ask: Ask, answers: Sequence[Answer | None]) -> None:
        """Answers to the same request, beside the one that counts: the hook runs again only if one went wrong."""
        assert ask.values is not None, "there is no hook without values"
        refused = [answer for answer in answers if answer is not None and answer.status not in {200, 201}]
        for answer in refused:
            problem = json.loads(answer.body)
            self.model.check(self._has_cause(ask, answer.status, problem), f"{ask}, twice: no reason for {problem}")
        if refused or None in answers or self._lost(ask.machine, ask.at):
            ask.values.most_runs += 1

    def not_begun(self, ask: Ask, code: str) -> bool:
        """Whether a refusal means that nothing is other than before. A container that ended may have had all of it."""
        if code in {"no_machine_available", "port_taken"}:
            return not self._is_troubled(ask)
        return code in {"configured_otherwise", "machine_failed"}

    def hook_failed(self, ask: Ask, status: int, problem: Any) -> bool:
        """Whether the machine is set up except for its hook, which ended as it was to end."""
        is_its_end = status == 424 and problem["setup"]["exit_code"] == FAILS_WITH
        return is_its_end and ask.values is not None and not ask.values.ends_well

    def _has_cause(self, ask: Ask, status: int, problem: Any) -> bool:
        code = problem["code"]
        if code in {"no_machine_available", "port_taken"}:
            return status == 503 and self._may_have_none(ask)
        if code == "configured_otherwise":
            others = any(values is not ask.values for values in ask.had)
            same = ask.done is ask.values and not self._lost(ask.machine, ask.done_at)
            return status == 409 and ask.values is not None and not ask.replaces and others and not same
        if code == "machine_failed":
            return status == 409 and (ask.machine is None or self._may_be_down(ask))
        if status == 424 and self.hook_failed(ask, status, problem):
            return True
        starts = status == 503 and self.harm.done(Kind.SERVICE_DOWN, since=ask.at - CERTAINTY_S)
        documented = status in {404, 424, 502, 503}  # the 409 that are, are above
        return documented and (starts or self._is_troubled(ask))

    def _is_troubled(self, ask: Ask) -> bool:
        """Whether something was harmed without which no machine can be set up."""
        since = ask.at - AFTER_S
        own = self.harm.done(*_DEADLY, since=since, what=ask.machine)  # of one that it does not know: any
        return own or self.harm.done(*_HINDERS, since=since)

    def _may_have_none(self, ask: Ask) -> bool:
        """Whether a project may be without a machine that serves: all are taken, or its own is down."""
        if ask.machine is None or ask.machine in self.model.doubtful:
            return True
        return self._may_be_down(ask) or self.harm.done(*_EVERYWHERE, since=ask.at - CERTAINTY_S)

    def _may_be_down(self, ask: Ask) -> bool:
        since = ask.at - RESTART_S
        own = self.harm.done(*_DEADLY, since=since, what=ask.machine) or self.model.is_removed(ask.machine or "")
        dying = self.harm.done(Kind.DAEMON_DYING, since=since)
        return own or dying or self.harm.done(Kind.PORT, since=since, what=str(ask.port))

    # what is seen

    def _lost(self, machine: str | None, since: float) -> bool:
        """Whether what is in its memory may be gone since then."""
        own = machine is None or self.harm.done(Kind.KILLED, Kind.REMOVED, since=since, what=machine)
        return own or self.harm.done(Kind.DAEMON_DYING, since=since)

    def _must_be_lost(self, machine: str, since: float) -> bool:
        killed = self.harm.begun(Kind.KILLED, since=since, what=machine)
        return killed or self.harm.begun(Kind.DAEMON_DYING, since=since)

    def shown(self, project: Project, reply: Any) -> None:
        """A reply said whether the machine of this project is configured."""
        configured = reply["configured"]
        if (wrong := self._is_wrong(project.given, project.machine, configured)) is not None:
            self.model.fail(f"{project.name} was told that {project.machine} has configured: {configured}. {wrong}")

    def _is_wrong(self, given: Given, machine: str | None, configured: bool | None) -> str | None:  # noqa: FBT001 # what was told
        if configured is None:
            return "Its pool takes values."
        if given.known is Known.DONE and not configured and not self._lost(machine, given.asked_at):
            return f"It has {given.values}, and nothing has ended it."
        if given.known in {Known.NOTHING, Known.FAILED} and configured:
            return f"{given.known}: {given.values}"
        if configured and not any(values.ends_well for values in given.possible):
            return f"Of {given.possible} nothing ends well."
        return None

    def seen(self, project: Project, look: Look, asked_at: float) -> None:
        """A look inside, which began at `asked_at`.

        It shows nothing of others, all or nothing of its own, and that each hook ran as often as it was to.
        """
        given, check, where = project.given, self.model.check, f"{project.machine} of {project.name}"
        own = {(values.project, values.number) for values in given.possible}
        check(look.marks <= own, f"{where}, to whom {own} belong, has {look.marks - own}: {sorted(look.files)}")
        if given.done is None:
            whole = not look.ready or any(values.are(look.files) for values in given.possible)
            check(whole, f"{where} is ready, and has none of {given.possible}: {look.files}")
            return
        done, lost = given.done, self._lost(project.machine, given.asked_at)
        killed = self.harm.over(Kind.KILLED, since=given.told_at, until=asked_at, what=project.machine)
        if look.ready:
            check(not killed, f"{where} was killed, and is ready all the same")
            check(done.are(look.files), f"{where} has {done}, and inside is {look.files}")
        else:
            check(lost, f"{where} has {done}, and is not ready: {sorted(look.files)}")
            check(not look.files, f"{where} has lost {done}, and still has {sorted(look.files)}")
        runs = look.runs.count(done.run)
        check(1 <= runs <= done.most_runs, f"{where}: the hook of {done} ran {runs} times, not {done.most_runs}")

    # what is on record

    def check_rows(self, rows: Iterable[Row], before: Sure) -> None:
        """Compare the record with what was known before it was read, and still is."""
        now = time.monotonic()
        calm = not self.harm.done(*_EVERYWHERE, since=self._looked_at)
        passed_s, self._looked_at = now - self._looked_at if calm else 0.0, now
        by_project = {row.project: row for row in rows if row.project is not None}
        for project in self.model.known_since(before):
            row = by_project.get(project.name)
            if row is not None and row.id == project.machine and project.pool == row.pool and not project.given.asking:
                self._check_row(project, row, passed_s, before)

    def _check_row(self, project: Project, row: Row, passed_s: float, before: Sure) -> None:
        given, name = project.given, project.name
        wrong = self._is_wrong(given, row.id, row.is_configured)
        if wrong is not None and project in self.model.known_since(before):  # nor has it asked anything meanwhile
            self.model.fail(f"{row.id} of {name} is on record with configured: {row.is_configured}. {wrong}")
        stale = given.known is Known.DONE and row.is_configured and self._must_be_lost(row.id, given.told_at)
        self._stale_s[name] = self._stale_s.get(name, 0.0) + passed_s if stale else 0.0
        for_s = self._stale_s[name]
        self.model.check(
            for_s < STALE_S, f"{row.id} of {name} lost {given.values}, and for {for_s:.0f} s nobody noticed"
        )
