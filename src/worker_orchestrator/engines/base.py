"""The engine protocol: all that the orchestrator asks of the place where instances run.

An engine keeps no state of its own about machines, decides nothing, and retries nothing: it carries out one call and reports
truthfully how it ended. Each error means one thing (`errors.EngineError`):

* `EngineUnavailable`  nothing was carried out; the same call may succeed later;
* `EngineRejected`     nothing was carried out, and the same call will be refused again;
* `EngineObstructed`   nothing was carried out; the same call may succeed once the cause that it names is removed;
* `PortTaken`          nothing was carried out; the same call may succeed with another port, in place of the one it names;
* `OutcomeUnknown`     it may have been carried out, or may be yet: only a listing tells.

Any other exception is a defect of the engine. What an engine may offer beside this is in `extras.py`.

An engine is given the options of each pool when it is opened (`open.py`), and again when they change. An instance whose pool
is no longer among them goes on as it was: it is listed, probed, entered, restarted and removed like any other.

Engines differ in what they do at once. `create` and `destroy` return True if what was asked is done, and False if the
engine has only accepted it: then a listing shows what came of it. Only a listing that was begun after a destroy was
accepted, and that lacks the instance, proves that it is gone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from worker_orchestrator.core.instance import Instance
from worker_orchestrator.core.machine import Machine

__all__ = ["INSTANCES", "EndOf", "Engine", "Identity", "Listing"]

INSTANCES: Final = ""
"""An item of `Engine.watch`: instances changed, and no template has, so none needs to be asked for."""


class EndOf(str):
    """An item of `Engine.watch`: the id of an instance of which one run has ended, for certain. It may run again by now."""

    __slots__ = ()


class RecoveryOf(str):
    """An item of `Engine.watch`: the id of an instance that may serve again, so nothing speaks against one that serves."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """Which engine this is. `marked`: it carries our owner's mark, so it is ours whatever its id is today."""

    id: str
    marked: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """What an engine runs.

    `as_of` is the loop time, in seconds, at which the listing was begun: `instances` (by machine id) shows all that ended or
    was acknowledged before that. It is never earlier than the call of `list`, since a listing that is older than a destroy
    must not prove its success: an engine that answers from a cache waits until the cache is as new as the call.
    """

    as_of: float
    instances: Mapping[str, Instance]


class Engine(Protocol):
    """A place where instances run."""

    @property
    def plans_ports(self) -> bool:
        """Whether we choose the host ports (True: Docker), or the engine gives the addresses (False: Kubernetes).

        Only an engine for which we choose them can give a machine several ports by name (`Machine.ports`).
        An engine that gives them reports each in its listings (`Instance.address` and `port`, and `host` for URLs) as soon
        as it is known, tells of that in `watch`, and does not change it while the instance runs.
        """
        ...

    @property
    def restarts_in_place(self) -> bool:
        """Whether `restart` starts an exited instance again with its files. If not, an exited machine of a project fails."""
        ...

    def is_native_id(self, text: str) -> bool:
        """Whether this text has the form of an id that the engine gives to instances, or of its accepted short form."""
        ...

    async def ping(self) -> None:
        """Return if the engine answers. Raises EngineUnavailable."""
        ...

    async def identity(self) -> Identity:
        """Which engine this is, so that a switched one is noticed. Raises EngineUnavailable."""
        ...

    async def template(self, pool: str, *, fetch: bool = True) -> str:
        """The fingerprint of what a create would run now for a machine of this pool: image id, environment, ports, limits.

        Two pools may have the same one. It is asked for several pools at the same time, and what one of them lacks keeps no
        other from its answer.

        Fetches the image where it is missing, which may take minutes; `progress` says how far it is. Without `fetch` it only
        looks: empty where the image is missing. Raises EngineRejected where nothing can be run, or there is no such pool,
        EngineUnavailable, OutcomeUnknown.
        """
        ...

    def progress(self, pool: str) -> str:
        """What `template` is busy with for this pool, in words; empty where it is not."""
        ...

    async def list(self) -> Listing:
        """Every instance with our label: of any owner, in any status, whatever it was renamed to. All of them, or an error.

        What somebody made of a copy of an instance is not among them, though it bears the same labels. An instance whose
        state the engine cannot find out is UNKNOWN with `unreachable_since`, and not left out. One for which the engine has
        no room says so in `unplaced`. Raises EngineUnavailable.
        """
        ...

    async def create(self, machine: Machine) -> bool:
        """Make it run, with exactly this template of its pool and these ports. Safe to repeat. Leaves nothing if it fails.

        True if it runs, False if that was only accepted. Raises every EngineError.
        """
        ...

    async def restart(self, machine_id: str, *, stop_first: bool = False) -> None:
        """Start an exited instance in place, with its files and its port. Safe to repeat. Raises every EngineError.

        With `stop_first`, one that runs is ended before, as its image wants to be ended. It is called only if the engine
        `restarts_in_place`.
        """
        ...

    async def stop(self, machine_id: str, grace_s: float) -> None:
        """Ask what we run under this id to end, end it after `grace_s` seconds, and return when it has. Absent is success.

        The engine goes on with it if the caller gives up. It is a call of its own, and not a grace of `destroy`, because
        somebody who waits for the machine's place may cut it short, and because a worker that takes its time to end must not
        take one of the places for calls. Raises EngineUnavailable, EngineRejected, OutcomeUnknown.
        """
        ...

    async def destroy(self, machine_id: str) -> bool:
        """Remove by force what we run under this id, and nothing of others. Safe to repeat. Absent is success.

        True if it is known to be gone, False if its removal was only accepted. Raises EngineUnavailable, EngineRejected,
        OutcomeUnknown.
        """
        ...

    async def probe(
        self, machine: Machine, instance: Instance | None = None, limit_s: float = 1.0, *, closely: bool = False
    ) -> str | None:
        """Ask the worker whether it serves, at the port that its pool chose for that: None if it does, else what happened.

        `instance` is what the last listing showed of it (None: nothing yet). An engine that gives the addresses asks at the
        one in there, and says what is missing if there is none.

        Takes `limit_s` seconds at most. If the worker has not answered by then, and `closely` is given, one second more is
        taken to find out what is there instead.
        Raises EngineError if that cannot be known, as when only the engine would know and it does not answer. That is no
        verdict on the worker.
        """
        ...

    def watch(self) -> AsyncIterator[str | None]:
        """One item whenever something changed: the id of an instance that is said to serve no longer, or again; `INSTANCES`
        if only a listing can tell, and templates have not changed; else None.

        It ended, was told to end, was paused, or was taken off its network, or somebody put that right. It is named at the
        first sign of that, and perhaps at each further one; as `EndOf` where its main process has ended, so that nothing is
        in its memory any more. The first item comes when the stream is open. The stream may
        miss changes, and may end. Raises EngineUnavailable.
        """
        ...

    async def until_shown(self, machine_id: str) -> None:
        """Return when a listing shows what became of this instance, as `watch` said; after a moment in any case."""
        ...

    async def aclose(self) -> None: ...
