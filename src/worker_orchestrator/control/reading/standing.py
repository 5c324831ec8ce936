"""Why a pool has as many idle machines as it has: what asks for them, what holds them back, and how many are needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from worker_orchestrator.control.deciding.forecasts import Forecasts
from worker_orchestrator.control.deciding.state import ControlState
from worker_orchestrator.control.world.contact import Contact
from worker_orchestrator.core.demand import Forecast
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.pool import Brake
from worker_orchestrator.core.reasons import sentence
from worker_orchestrator.core.wanted import Wanted, wanted

__all__ = ["Demand", "Standing", "Standings", "demand"]


_TIMES: Final = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True)
class Standing:
    """One pool now. `why` says which rule asks for `wanted_idle`, `held_back` what keeps it from having them.

    `held_back` is empty while it has them, or while they are all on their way. `warm_up_s` is the median time from the
    record of a new machine to its first answer; None while this process has seen none of the current template.
    """

    wanted_idle: int
    why: str
    held_back: str
    warm_up_s: float | None


@dataclass(frozen=True, slots=True)
class Demand:
    """How many idle machines projects use up while one new machine comes up, on average."""

    assigns_per_minute: float
    warm_up_s: float
    idle_needed: int

    def says(self, idle: int, parked: int = 0) -> str:
        """In one sentence, and in a second one if the pool keeps fewer."""
        few, keeps = self.idle_needed > idle + parked, f"{idle} and {parked} parked" if parked else str(idle)
        used_up = self.assigns_per_minute * self.warm_up_s / 60
        needed = "1 idle machine is" if self.idle_needed == 1 else f"{self.idle_needed} idle machines are"
        return (
            f"{self.assigns_per_minute:.3g} assigns per minute {_TIMES} {self.warm_up_s:.3g} s until a new machine answers "
            f"= {used_up:.2g} machines used up meanwhile, on average, so {needed} needed."
            f"{f' The pool keeps {keeps}, so projects have to wait.' if few else ''}"
        )


def demand(assigns_per_minute: float, warm_up_s: float | None) -> Demand | None:
    """None while there is nothing to go by."""
    if not assigns_per_minute or warm_up_s is None:
        return None
    needed = math.ceil(round(assigns_per_minute * warm_up_s / 60, 6))
    return Demand(assigns_per_minute, warm_up_s, needed)


def follows(forecast: Forecast) -> str:
    """Of what the sizes of a pool that follow demand were worked out, without a full stop."""
    if not forecast.idle:
        return "adaptive: nobody has come for a machine of this pool yet"
    assumed = " (assumed: no machine was seen to start yet)" if forecast.is_warm_s_assumed else ""
    said = (
        f"adaptive: {forecast.rate:.2g} assigns per minute at this hour, {forecast.warm_s:.2g} s to warm{assumed}, so "
        f"{forecast.ordinary} idle"
    )
    bursts = f"; bursts of up to {forecast.largest}"
    if forecast.parked:
        return f"{said}{bursts}, so {forecast.parked} parked"
    if forecast.idle == forecast.ordinary:
        return said
    return f"{said}{bursts} {'at any time' if forecast.always else 'about this time'}, so {forecast.idle} idle"


def _capped(forecast: Forecast, idle: int) -> str:
    return f", and its limits allow {idle}" if idle < forecast.idle else ""


class Standings:
    """Reads the fleet and what it should be."""

    def __init__(self, state: ControlState, contact: Contact, forecasts: Forecasts) -> None:
        self._state, self._contact, self._forecasts = state, contact, forecasts

    def of(self, name: str, machines: Sequence[Machine]) -> Standing:
        """`machines` are all of this pool, which the settings may no longer name."""
        fleet, spec = self._state.fleet, self._state.spec
        now = wanted(fleet, spec, name)
        return Standing(
            wanted_idle=now.idle,
            why=self._why(name, now),
            held_back=self._held_back(name, now),
            warm_up_s=_warm_up_s(fleet, machines, spec.pool(name).template),
        )

    def _why(self, name: str, now: Wanted) -> str:
        parked, forecast = self._state.spec.pool(name).parked, self._forecasts.of(name)
        if forecast is not None and parked <= forecast.parked:  # what demand asks for is said already
            capped = f" Its limits allow {parked} parked." if parked < forecast.parked else ""
            return f"{self._why_idle(name, now)}{capped}"
        reserve = f" Beside these, {parked} are to be parked (parked)." if parked else ""
        return f"{self._why_idle(name, now)}{reserve}"

    def _why_idle(self, name: str, now: Wanted) -> str:
        pool, assigned = self._state.spec.pool(name), self._state.fleet.assigned_in(name)
        if name not in self._state.spec.pools:
            return "The settings no longer name this pool, so it keeps no idle machine."
        share = f"{pool.spare:.0%} of the {assigned} machines that projects have"
        if now.rule == "spare":
            capped = ", and max_idle allows no more" if now.idle == pool.max_idle else ""
            return f"spare asks for {share}, which is more than min_idle ({pool.min_idle}){capped}."
        forecast = self._forecasts.of(name)
        if forecast is not None and now.rule == "adaptive":
            return f"{follows(forecast)}{_capped(forecast, now.idle)}."
        if pool.window is not None:
            return f"The window `{pool.window.cron}` ({pool.window.zone.key}) is open, and its min_idle is {now.idle}."
        if forecast is not None:
            return f"min_idle is {pool.min_idle}, and demand asks for no more ({follows(forecast)})."
        more = f", and spare asks for no more ({share})" if pool.spare else ""
        return f"min_idle is {pool.min_idle}{more}."

    def _held_back(self, name: str, now: Wanted) -> str:
        """What has to be mended first."""
        if now.missing and self._contact.problem is not None:
            return f"The container engine is unavailable. {sentence(self._contact.problem)}"
        if not now.held_back or name not in self._state.spec.pools:
            return ""
        hold, brake = now.held_back[0], self._brake(name)
        match hold.by:
            case "template":
                return sentence(hold.why) or "It is not known yet what to run: the image is looked up or pulled."
            case "paused":
                return "The pool is paused."
            case "image" | "obstacle" if brake is not None:
                left_s = max(0, math.ceil(brake.until - self._state.now()))
                when = f"The next machine is tried in {left_s} s." if left_s else "One machine at a time is tried."
                return f"{sentence(brake.reason)} {when}"
            case _:
                return sentence(hold.why)

    def _brake(self, name: str) -> Brake | None:
        return self._state.fleet.brake_in_force(name, self._state.spec.pool(name).template)


def _warm_up_s(fleet: Fleet, machines: Sequence[Machine], template: str | None) -> float | None:
    """Of these machines; those that ran before this process, or were adopted, say nothing."""
    made = (one.id for one in machines if one.template == template)
    watches = (fleet.watches[machine_id] for machine_id in made)
    took_s = [one.ready_at - one.born for one in watches if one.ready_at is not None and one.ready_at > one.born]
    return median(took_s) if took_s else None
