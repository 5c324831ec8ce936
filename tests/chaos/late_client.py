"""A client some of whose projects send values for their machine, look whether they are there, and send others."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from tests.chaos.client import Client, Send
from tests.chaos.configured import Ask
from tests.chaos.given import Known
from tests.chaos.looking import Look, look_into
from tests.chaos.model import Project
from tests.chaos.values import HOOKS, LATE, WEIGHTS, Values
from tests.integration.calling import Answer, call

__all__ = ["LateClient"]

_HUNG_UP_S: Final = 8.0
_CUT_OFF_S: Final = 5.0
"""A set-up may go on for so long when nobody waits for it: the client's, or the service."""
_SENDS: Final = 0.75
"""The share of first assigns that send values."""
_ASSIGNED: Final = (200, 201)


class LateClient(Client):
    """As the others, with projects that have values for their machine."""

    __slots__ = ()

    def _new_project(self) -> Project:
        self._count += 1
        pool = LATE if self.chance.random() < 0.5 else "default"
        return self.stage.model.new_project(f"c{self.number}-{self._count}", pool)

    def _hold(self, slot: int, luck: float) -> None:
        project = self.projects[slot]
        if project.pool == LATE and 0.3 <= luck < 0.4:
            self._look(project)
        elif project.pool == LATE and 0.4 <= luck < 0.45:
            self._show(project)
        elif project.pool == LATE and luck < 0.3:
            self.assign(slot)
        else:
            Client._hold(self, slot, luck)

    # what it sends

    def assign(self, slot: int, hang_up_after_s: float | None = None) -> None:
        project, luck = self.projects[slot], self.chance.random()
        if project.pool != LATE:
            Client.assign(self, slot, hang_up_after_s)
        elif project.machine is None:
            self._put(slot, self._new_values(project) if luck < _SENDS else None, hang_up_after_s)
        elif luck < 0.2:
            self._put(slot, None, hang_up_after_s)
        elif luck < 0.55 and project.given.possible:
            self._put(slot, project.given.possible[-1], hang_up_after_s, replaces=self.chance.random() < 0.3)
        else:
            self._put(slot, self._new_values(project), hang_up_after_s, replaces=luck > 0.7)

    def assign_surely(self, slot: int) -> None:
        """At the end, when nothing is the matter: it is configured, whatever was before."""
        project = self.projects[slot]
        if project.pool != LATE:
            Client.assign(self, slot)
            return
        if any(row.id == project.machine and row.state == "failed" for row in self.stage.rows() or ()):
            return
        told, look, check = self._show(project), self._look(project), self.stage.model.check
        empty = told and look is not None and not look.ready
        check(not empty, f"in the end {project.name} is told that {project.machine} is configured, and it is not ready")
        self._put(slot, project.given.done or self._new_values(project, "ends well"), replaces=True)
        is_done = project.given.known is Known.DONE
        check(is_done, f"in the end {project.name} cannot configure {project.machine}")

    def _new_values(self, project: Project, hook: str = "") -> Values:
        self._count += 1
        return Values(project.name, self._count, hook or self.chance.choices(list(HOOKS), WEIGHTS)[0])

    def _sends(self, ask: Ask) -> Send:
        body = {"pool": LATE, **({} if ask.values is None else ask.values.body)}
        if ask.replaces and ask.values is not None:
            body["replace"] = True
        path = f"/v1/projects/{ask.project.name}/machine"
        return lambda timeout_s: call(self.stage.service.ports.api, "PUT", path, body, timeout_s=timeout_s)

    def _put(
        self, slot: int, values: Values | None, hang_up_after_s: float | None = None, *, replaces: bool = False
    ) -> None:
        project, first = self.projects[slot], self.projects[slot].fresh
        self.stage.model.asks(project)
        ask = self._begun(project, values, replaces=replaces)
        try:
            answer = self._sent(ask, hang_up_after_s)
        except TimeoutError:
            self.stage.setups.may_last(_HUNG_UP_S)
            self._retire(slot)
            return
        self._heard(ask, answer, first=first)
        project.given.asking = 0
        if project.machine is not None and answer is not None and answer.status in _ASSIGNED:
            self._look(project)
        elif answer is not None and answer.status == 424 and not project.free:
            self._show(project)

    def _begun(self, project: Project, values: Values | None, *, replaces: bool = False) -> Ask:
        """From now on nobody knows whether it has its machine, if that may go with a set-up that fails."""
        ask = self.stage.configured.asks(project, values, replaces=replaces)
        if values is not None and self.stage.replaces and not project.given.was_done:
            self.stage.model.takes(project)
        return ask

    def _sent(self, ask: Ask, hang_up_after_s: float | None = None) -> Answer | None:
        if ask.values is None:
            return self._ask(str(ask), self._sends(ask), hang_up_after_s)
        with self.stage.setups.under_way():
            answer = self._ask(f"configure {str(ask).removeprefix('assign ')}", self._sends(ask), hang_up_after_s)
        if answer is None:
            self.stage.setups.may_last(_CUT_OFF_S)
        return answer

    def _assign_twice(self, slot: int) -> None:
        """Two clients of one project at once send the same values: the hook runs once."""
        project = self.projects[slot]
        if project.pool != LATE:
            Client._assign_twice(self, slot)
            return
        self.stage.model.asks(project)
        ask = self._begun(project, self._new_values(project))
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda _: self._sent(ask), range(2)))
        best = min(answers, key=lambda answer: 600 if answer is None else answer.status)
        self.stage.configured.beside(ask, [answer for answer in answers if answer is not best])
        self._heard(ask, best, first=False)
        project.given.asking = 0
        if project.machine is not None:
            self._look(project)

    # what it hears

    def _heard(self, ask: Ask, answer: Answer | None, *, first: bool) -> None:
        project, configured = ask.project, self.stage.configured
        if answer is None:
            project.fresh = False
            configured.unanswered(ask)
            return
        self._documented(str(ask), answer, *_ASSIGNED, 404, 409, 424, 502, 503)
        told = json.loads(answer.body)
        if answer.status in _ASSIGNED:
            self._told(project, told["id"], told["port"], ask.at, first=first)
            project.host = told["container_id"] or ""
            project.given.told_generation(told["generation"])
            configured.told(ask, told)
            self.stage.timeline.count(f"configured {told['configured']}")
            return
        project.fresh = False
        configured.refused(ask, answer.status, told)
        if answer.status == 424:
            self._failed(ask, told)
        elif ask.machine is not None and configured.not_begun(ask, told["code"]):
            self.stage.model.kept(project, ask.machine)

    def _failed(self, ask: Ask, told: Any) -> None:
        """Its set-up failed, and the machine may have gone with it; surely not if an earlier one went well."""
        model, given, removed = self.stage.model, ask.project.given, self.stage.replaces
        is_known = self.stage.configured.hook_failed(ask, 424, told)
        if removed and is_known and not given.was_done and not given.may_have_been:
            model.gave_up(ask.project, destroyed=told["machine"])
            self.stage.timeline.count("machines that went with their set-up")

    # where it looks

    def _show(self, project: Project) -> bool:
        """Returns whether it is said to be configured."""
        path, asked_at = f"/v1/projects/{project.name}/machine", time.monotonic()
        answer = self._ask(f"show {project.name}", self._get(path))
        if answer is None:
            return False
        self._documented(path, answer, 200, 404)
        machine = project.machine
        if answer.status == 404:
            sure = machine is not None and not self.stage.model.is_removed(machine)
            self.stage.model.check(not sure, f"{project.name} has {machine}, and was told {answer.text}")
            return False
        told = answer.json
        if told["state"] == "assigned":
            self._told(project, told["id"], told["port"], asked_at, first=False)
            project.host = told["container_id"] or project.host
            project.given.told_generation(told["generation"])
            self.stage.configured.shown(project, told)
        return bool(told["configured"])

    def _look(self, project: Project) -> Look | None:
        """Whoever has its port now: a container that was removed has none, and others may have it."""
        machine, timeline, asked_at = project.machine, self.stage.timeline, time.monotonic()
        assert machine is not None, "it is known"
        look = look_into(project.port)
        if look is None:
            timeline.count("looks in vain")
        elif not project.host:  # it was assigned before a listing showed its container, and nobody has told its id yet
            timeline.count("looks at a container whose id was not told")
        elif not project.host.startswith(look.host):
            self._look_elsewhere(project, look.host)
        else:
            self.stage.configured.seen(project, look, asked_at)
            timeline.count(f"looks at {'what was told' if project.given.done else 'something'}")
            return look
        return None

    def _look_elsewhere(self, project: Project, host: str) -> None:
        """Another container answers at its port. A dockerd that was killed may give one address to two containers."""
        machine, model = project.machine, self.stage.model
        if machine is None or model.is_removed(machine) or machine in model.doubtful:
            return
        both = self.stage.addresses(project.host, host)
        twice = len(both) == 2 and len({one.split()[-1] for one in both}) == 1
        model.check(twice, f"at port {project.port} of {machine} is another container, {host}: {both}")
        self.stage.timeline.count("looks at another container to which Docker gave the same address")
