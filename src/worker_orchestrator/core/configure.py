"""What becomes of a machine that its project configures while it runs.

Each of these stores something before the worker is touched or anybody is told, in this order::

    begin    WRITING, before anything is written: from then on the machine is dirty, whatever happens to this process
    finish   DONE or FAILED, when nothing more is written and the hook has ended
    lose     LOST, where somebody found that nothing of it is there. Whatever takes the machine out of READY does the same
             (`Fleet.apply`), and so does the end of its container's run (`note_end`): it may be READY all the time if
             somebody restarts that before a listing shows it
    discard  the machine goes with its failed set-up, unless an earlier one went well (`may_discard`)

What is left of one attempt may still land after a later one has succeeded. So once that is uncertain it stays so for as long
as the project has the machine, and then the machine is removed and not handed on.
"""

from __future__ import annotations

from msgspec.structs import replace

from worker_orchestrator.core.configuration import Configuration, Stage
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.reasons import (
    CONFIGURED,
    CONFIGURING,
    SETUP_FAILED_REMOVED,
    setup_failed,
)
from worker_orchestrator.core.refusals import not_configurable

__all__ = ["begin", "discard", "finish", "lose", "may_discard", "may_have_values", "note_end"]


def may_have_values(machine: Machine) -> bool:
    """Whether something of an earlier configuration may be there, so that it must be removed before others are written."""
    return machine.configuration is not None


def begin(fleet: Fleet, machine: Machine, digest: str, now: float) -> Machine:
    """A project is about to configure its machine with the values of this digest. Returns the machine as it is then.

    What it was configured with before counts no more. Raises NotRunning if the machine does not serve.
    """
    assert machine.holding is not None, f"{machine.id}: no project has it, so none configures it"
    if machine.state is not State.READY:
        raise not_configurable(machine)
    before = machine.configuration
    configuration = Configuration(
        Stage.WRITING,
        digest,
        is_certain=before is None or not before.may_land,
        was_done=before is not None and before.was_done,
    )
    after = replace(machine, configuration=configuration, reason=CONFIGURING)
    fleet.apply(machine, after, Cause.CONFIGURING, now)
    return after


def finish(  # how a set-up ended
    fleet: Fleet,
    begun: Machine,
    now: float,
    *,
    why: str | None = None,
    is_certain: bool = True,
    exit_code: int | None = None,
    took_ms: int | None = None,
) -> Machine | None:
    """The set-up that this machine `begun` has ended: well, or for this reason `why` not, which is a sentence.

    `is_certain`: nothing of it may still be written. Returns the machine as it is then. None, and no change, if it did not
    stay as it was meanwhile: it was restarted, put to sleep or given up, so what was written counts no more.
    """
    machine, writing = fleet.machines.get(begun.id), begun.configuration
    assert writing is not None, f"{begun.id}: its set-up was begun"
    if machine is None or machine.holding is None or machine.generation != begun.generation:
        return None
    if machine.configuration is not writing:
        return None
    configuration = replace(
        writing,
        stage=Stage.DONE if why is None else Stage.FAILED,
        is_certain=writing.is_certain and is_certain,
        exit_code=exit_code,
        took_ms=took_ms,
        was_done=writing.was_done or why is None,
    )
    reason, cause = (CONFIGURED, Cause.CONFIGURED) if why is None else (setup_failed(why), Cause.SETUP_FAILED)
    after = replace(machine, configuration=configuration, reason=reason)
    fleet.apply(machine, after, cause, now)
    return after


def lose(fleet: Fleet, machine: Machine, now: float) -> Machine:
    """Nothing of its configuration is there any more. Returns the machine as it is then."""
    assert machine.configuration is not None, f"{machine.id}: it was configured"
    return fleet.unconfigure(machine, now)


def note_end(fleet: Fleet, machine_id: str, now: float) -> bool:
    """A run of this machine's container has ended. Whether what its project configured it with is lost by that."""
    machine = fleet.machines.get(machine_id)
    if machine is None or machine.holding is None or machine.configuration is None:
        return False
    if not machine.configuration.is_in_memory:
        return False
    lose(fleet, machine, now)
    return True


def may_discard(machine: Machine) -> bool:
    """Whether a machine whose set-up failed holds nothing yet that its project could miss.

    Not if an earlier set-up for the same assignment went well: there may be files of days in it by now.
    """
    assert machine.configuration is not None, f"{machine.id}: its set-up was begun"
    return not machine.configuration.was_done


def discard(fleet: Fleet, machine: Machine, now: float) -> Machine:
    """Take this machine, whose set-up failed, from its project, and remove it. Returns it as it is then."""
    assert may_discard(machine), f"{machine.id}: its project may have files in it"
    after = replace(machine, state=State.STOPPING, holding=None, reason=SETUP_FAILED_REMOVED, evidence="")
    fleet.apply(machine, after, Cause.RELEASED, now)
    return after
