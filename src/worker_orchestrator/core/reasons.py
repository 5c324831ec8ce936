"""The words of a machine's `reason`: why it is where it is, as lists, events, log lines and replies show it.

One convention for all of them: a reason is one or more full sentences, each with a capital letter and a full stop. So it
stands alone in a list, and behind another sentence in a reply. It does not name the machine, because the list, the event
or the sentence before it does. A `detail` is what a probe found: a lower-case fragment without a full stop, because it
follows a colon here and stands in a table of its own. No engine is named here: what an engine says comes in as `message`
or `detail`, and messages are sentences already.
"""

from __future__ import annotations

from typing import Final

from worker_orchestrator.core.lease import EndsBy

__all__ = [
    "ADOPTED",
    "ANSWERED",
    "ASLEEP",
    "ASSIGNED",
    "CLEANED",
    "CLEANED_TOO_SLOWLY",
    "CLEANING",
    "CLEANING_ANYWAY",
    "CONFIGURED",
    "CONFIGURING",
    "CUT_OFF",
    "DESTROYED",
    "DISPLACED",
    "DISPLACED_BY_MIN_IDLE",
    "DISPLACED_BY_WAKER",
    "EXISTS_AGAIN",
    "FILES_GONE",
    "GONE",
    "GONE_AT_START",
    "KEPT_BUSY",
    "MAY_BE_CONFIGURED",
    "MOVED_TO_OTHER_PROJECT",
    "NETWORK_LOST",
    "NEW",
    "NOT_RECEIVED",
    "NOT_REUSED",
    "NOT_TO_BE_PARKED",
    "OUTDATED",
    "PARKED",
    "PARKED_UNCERTAIN",
    "PARK_REFUSED",
    "RELEASED",
    "RELEASED_OUTDATED",
    "RELEASED_UNCERTAIN",
    "RELEASED_UNREACHABLE",
    "RESTART_REQUESTED",
    "RESTART_REQUESTED_BEFORE",
    "RUNS_AGAIN",
    "SETUP_FAILED_REMOVED",
    "SLEEP_REQUESTED",
    "STILL_ANSWERS",
    "SURPLUS",
    "TAKEN_OVER",
    "TOO_MANY_PARKED",
    "UNCONFIGURED",
    "UNKNOWN_POOL",
    "UNPARKED",
    "UNPARKED_FOR_CHECK",
    "UNREACHABLE",
    "UNWANTED",
    "WOKEN",
    "WOKEN_EARLY",
    "answers_elsewhere",
    "asleep",
    "cannot_serve",
    "exited",
    "expired",
    "expiring",
    "failed_again",
    "failed_machine",
    "falling_asleep",
    "killed",
    "not_cleaned",
    "not_running",
    "not_the_current",
    "out_of_memory",
    "restart_failed",
    "restart_put_off",
    "runs_silently",
    "sentence",
    "setup_failed",
    "silent_after_start",
    "silent_at_assignment",
    "started_too_slowly",
    "stopped_answering",
]

NEW: Final = "Its container is being created."
ANSWERED: Final = "The worker answered."
ASSIGNED: Final = "It was assigned to the project."
NOT_RECEIVED: Final = "It was assigned, but no client received it."
RELEASED: Final = "The project released it."
OUTDATED: Final = "It was made from an older image or older settings."
RELEASED_OUTDATED: Final = f"{RELEASED} {OUTDATED}"
UNREACHABLE: Final = "It is unreachable: the engine does not know whether it still runs."
RELEASED_UNREACHABLE: Final = "It was unreachable for longer than unreachable_grace, and its project asked again."
SURPLUS: Final = "There were more idle machines than max_idle allows."
UNWANTED: Final = "There were more idle machines than its pool wants."
DISPLACED: Final = "Another pool's project waits for its place."
DISPLACED_BY_MIN_IDLE: Final = (
    "Only demand asked for it to be parked, and another pool has fewer idle machines than its min_idle."
)
DISPLACED_BY_WAKER: Final = "A machine that slept is to wake in its place."
UNKNOWN_POOL: Final = "Its pool is not in the settings."
_EXPIRED: Final = {
    EndsBy.TTL: "Its project had not asked for it for {}.",
    EndsBy.MAX_AGE: "Its project had it for {}, which is its max_age.",
    EndsBy.IDLE_TIMEOUT: "Its project had not used it for {}.",
    EndsBy.CONFIRM_WITHIN: "Its project did not use it at all within {}.",
}
_EXPIRING: Final = {
    EndsBy.TTL: "It expires in {}, unless its project asks for it or keeps it.",
    EndsBy.MAX_AGE: "It expires in {}, when it reaches its max_age.",
    EndsBy.IDLE_TIMEOUT: "It expires in {}, unless its project uses it.",
    EndsBy.CONFIRM_WITHIN: "It expires in {}, unless its project uses it for the first time.",
}
DESTROYED: Final = "Its removal was requested."

CONFIGURING: Final = "Its project configures it."
CONFIGURED: Final = "Its project has configured it."
UNCONFIGURED: Final = "What its project had configured it with was in memory, and is gone."
CLEANING: Final = f"{RELEASED} It was configured, so it is restarted before anybody else gets it."
CLEANING_ANYWAY: Final = f"{RELEASED} The next one may configure it, so it is restarted before."
CLEANED: Final = "Its container was restarted, and nothing of its former configuration is left."
CLEANED_TOO_SLOWLY: Final = "It was not clean in time, so it is removed."
NOT_REUSED: Final = "It was to be cleaned, and its pool uses no machine again any more: it is removed."
RELEASED_UNCERTAIN: Final = f"{RELEASED} What it was configured with may still arrive, so it is removed."
SETUP_FAILED_REMOVED: Final = "Its set-up failed, so it is removed."

RESTART_REQUESTED: Final = "A restart was requested."
"""The reason of a machine that somebody asked to restart, until the engine reports something newer.

It is stored, so that the next run of the service restarts the machine if this one did not get to it.
"""
RESTART_REQUESTED_BEFORE: Final = "restarted on request"
"""The same in databases of earlier versions."""
NETWORK_LOST: Final = "The engine lost its network, as after it was killed, so it is started again."
"""As `RESTART_REQUESTED`: it runs, and must be stopped first."""
SLEEP_REQUESTED: Final = "It was put to sleep on request."
_FALLING_ASLEEP: Final = "Its container is being stopped, and its files are kept."
ASLEEP: Final = "Its files are kept. Its container is stopped, so its URL may be somebody else's until it wakes."
"""The end of the reason of a machine that sleeps, once its container is known to have stopped.

It is stored, so that the next run of the service knows as well that somebody else started a container which runs after that.
"""
WOKEN: Final = "Its project asked for it again, so it wakes."
WOKEN_EARLY: Final = "Its project asked for it again while its container was being stopped, so that is started again."
"""As `RESTART_REQUESTED`: whatever answers is about to be stopped, and the machine must be restarted."""
PARKED: Final = "It answered, and is paused until somebody needs it."
UNPARKED: Final = "It was parked and is needed, so its container goes on."
"""As `RESTART_REQUESTED`: the next run of the service reads from it that the container is there and may still be paused."""
STILL_ANSWERS: Final = "It was parked, and has shown that it still answers."
UNPARKED_FOR_CHECK: Final = "It was parked, and goes on for a moment to show that it still answers."
PARK_REFUSED: Final = "The engine did not pause it, so its container goes on."
PARKED_UNCERTAIN: Final = "It was to be paused, and the engine may still do so, so it is removed."
TOO_MANY_PARKED: Final = "More machines were parked than are wanted (parked)."
NOT_TO_BE_PARKED: Final = "It was parked or to be parked, had no project, and is not wanted any more."
CUT_OFF: Final = "Its container is on no network."
RUNS_AGAIN: Final = "The container was started again, but not by this service."
EXISTS_AGAIN: Final = "The container exists again."
GONE: Final = "The container no longer exists, and this service has no record of removing it."
GONE_AT_START: Final = "The container no longer existed when the service started."
FILES_GONE: Final = "Its files are gone too."
TAKEN_OVER: Final = "Another replica had started it, and it has not answered this one yet."

ADOPTED: Final = "It was adopted with `orchestrator recover`."
MOVED_TO_OTHER_PROJECT: Final = "It was adopted for another project with `orchestrator recover`."
KEPT_BUSY: Final = "The database is a copy, so the machine may be in use: it is kept under its own name."
MAY_BE_CONFIGURED: Final = "The database is a copy, so what the machine is configured with is not known."

_NOT_RUNNING: Final = {
    "created": "The container was created, but does not run.",
    "pending": "The container is not running yet.",
    "paused": "The container is paused.",
    "exited": "The container exited.",
    "terminating": "The container is being removed.",
}


def sentence(text: str) -> str:
    """The text with a full stop at its end, unless it ends as a sentence does or is empty."""
    return f"{text}." if text and not text.endswith((".", "?", "!", "…")) else text


# how a container ended


def not_running(status: str) -> str:
    """What it means that a container is in this status, which is not running or unknown."""
    return _NOT_RUNNING.get(status, f"The container is {status}.")


def exited(code: int) -> str:
    """It ended by itself, or by a signal that is not SIGKILL."""
    return f"The container exited with code {code}."


def killed(code: int) -> str:
    """SIGKILL ended it, and somebody outside sent that."""
    return f"The container was killed from outside (exit code {code})."


def out_of_memory(code: int) -> str:
    """SIGKILL ended it, and the kernel sent that."""
    return f"The container ran out of memory and was killed (exit code {code})."


def failed_again(ended: str, restarts: int) -> str:
    """It ended in this way, and so many restarts did not help. `ended` is a sentence of this file."""
    return f"{ended} It had been restarted {restarts} times, so it is not restarted again."


# restarts


def restart_failed(message: str) -> str:
    """The engine refused the restart."""
    return f"The container could not be restarted. {sentence(message)}"


def restart_put_off(message: str) -> str:
    """Something outside prevents the restart for now."""
    return f"The restart is put off. {sentence(message)}"


def runs_silently(detail: str) -> str:
    """After a restart its start time-out is up, and it runs. `detail` may be empty."""
    return _because("The container was restarted and runs, but the worker does not answer yet", detail)


# configurations


def setup_failed(why: str) -> str:
    """Its project could not configure it for this reason, which is a sentence."""
    return f"It is not configured. {sentence(why)}"


def not_cleaned(message: str) -> str:
    """What it was configured with may be left, so it is removed. `message` is the engine's."""
    return f"It could not be cleaned, so it is removed. {sentence(message)}"


# workers that do not serve


def started_too_slowly(limit_s: float) -> str:
    return f"The container did not start within {limit_s:g} s."


def silent_after_start(limit_s: float, detail: str) -> str:
    return _because(f"The worker did not answer within {limit_s:g} s of its start", detail)


def stopped_answering(detail: str) -> str:
    return _because("The worker stopped answering", detail)


def silent_at_assignment(detail: str) -> str:
    return _because("The worker did not answer when it was about to be assigned", detail)


def cannot_serve(ailment: str) -> str:
    """It has not ended, but an ailment, which is a sentence, lasted too long."""
    return f"The worker could not serve. {sentence(ailment)}"


def not_the_current(why_none: str) -> str:
    """What a machine of an older template is. `why_none`: why no newer one comes up, if none does."""
    return f"{OUTDATED} Newer machines do not come up. {sentence(why_none)}" if why_none else OUTDATED


def answers_elsewhere(other: str) -> str:
    """The detail of a probe: the machine `other` has the address that answered on record."""
    return f"what answers at its address may be {other}"


def failed_machine(machine_id: str, reason: str) -> str:
    """For those who are told of a machine that is not their own."""
    return f"Machine {machine_id} failed. {sentence(reason)}"


def _because(what: str, detail: str) -> str:
    return sentence(f"{what}: {detail}" if detail else what)


def expired(by: EndsBy, limit_s: float) -> str:
    """Which deadline of its project had passed."""
    return _EXPIRED[by].format(_duration(limit_s))


def expiring(by: EndsBy, left_s: float) -> str:
    """Which deadline of its project will have passed in so many seconds."""
    return _EXPIRING[by].format(_duration(round(left_s)))


def falling_asleep(why: str) -> str:
    """It is being put to sleep for this reason, which is a sentence."""
    return f"{why} {_FALLING_ASLEEP}"


def asleep(falling: str) -> str:
    """The reason of a machine that was falling asleep, once its container has stopped."""
    return f"{falling.removesuffix(_FALLING_ASLEEP)}{ASLEEP}"


def _duration(seconds: float) -> str:
    """As people say it: 90 s, 15 min, 2 h."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length or seconds == length:
            return f"{seconds / length:.4g} {unit}"
    return f"{seconds:.4g} s"
