"""One leader among replicas, by a coordination Lease whose `leaseTransitions` is the epoch. Pure: the time comes in as data.

No two clocks are compared. A leader may write for `WRITES_FOR_S` by its own monotonic clock, from when it *sent* the last
renewal that was confirmed. Another replica takes over once it has seen the Lease unchanged for `LASTS_S` by its own clock,
and it cannot have seen it before it was sent. So the first is silent before the second begins, unless their clocks run at
very different speeds, or the first one is stopped between its look at the clock and its write. What it writes then is
refused, since the second puts its term on all there is (`ledger.py`).

The epoch must be above those of all terms, also if somebody removed the coordination Lease: a term that meets a later one
begins anew above that (`Standing.above`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from worker_orchestrator.engines.kubernetes.template import PREFIX
from worker_orchestrator.errors import StoreError
from worker_orchestrator.store.cluster.calls import Answer, Call, Create, Kind, Patch, Verdict
from worker_orchestrator.store.cluster.terms import Term

__all__ = [
    "LASTS_S",
    "RENEW_EVERY_S",
    "WRITES_FOR_S",
    "Replica",
    "Seat",
    "Standing",
    "answered",
    "next_call",
    "resignation",
    "seen",
]

LASTS_S: Final = 6.0
"""A leader that was killed is replaced after so long. A clean stop gives the seat back at once (`resignation`)."""
WRITES_FOR_S: Final = 4.0
RENEW_EVERY_S: Final = 1.0
ADDRESS: Final = f"{PREFIX}address"
AFTER: Final = f"{PREFIX}after"
"""The version that was replaced. A patch that changes nothing leaves the version as it is, so nobody would see a renewal
where the wall clock stands still, or was set back."""
STAMP: Final = f"{PREFIX}lease-clock"
"""What the clock of deadlines showed, and the one on the wall: the next leader goes on from there."""


class Replica(msgspec.Struct, frozen=True):
    """One run of one process. `leader` is a name that no other run has, `address` where the leader is to be asked."""

    leader: str
    lease_name: str
    address: str = ""


class Seat(msgspec.Struct, frozen=True):
    """The coordination Lease as it was read. `holder` is empty if the last leader has given it back.

    `stamp` is what the last leader with deadlines wrote of its clock; empty if there was none.
    """

    version: str
    holder: str
    epoch: int
    address: str = ""
    stamp: str = ""


class Standing(msgspec.Struct, frozen=True):
    """What one replica knows of the election. Times are those of its own monotonic clock, in seconds.

    `since`: when it first saw the seat as it is, or that there is none; None before its first look. `renewed_at`: when it
    sent what made or kept it the leader; None if it is not. `above`: the highest epoch that it has met. `over`: that of its
    last term that was ended.
    """

    seat: Seat | None = None
    since: float | None = None
    renewed_at: float | None = None
    above: int = 0
    over: int = 0

    def term(self, replica: Replica) -> Term | None:
        """The term in which this replica leads; None if it does not."""
        if self.renewed_at is None or self.seat is None:
            return None
        return Term(self.seat.epoch, replica.leader)

    def may_write(self, now: float) -> bool:
        """Whether this replica leads, and nobody else can by now."""
        return self.renewed_at is not None and now < self.renewed_at + WRITES_FOR_S

    def ended(self, epoch: int = 0) -> Standing:
        """As this, when its term is over for another reason: it met what a term of this epoch wrote."""
        over = self.over if self.renewed_at is None or self.seat is None else self.seat.epoch
        return replace(self, renewed_at=None, above=max(self.above, epoch), over=over)


def seen(standing: Standing, replica: Replica, found: Mapping[str, Any] | None, now: float) -> Standing:
    """What is known once the coordination Lease was read; `found` is None if there is none. Raises StoreError."""
    seat = None if found is None else _seat_of(found)
    if seat == standing.seat and standing.since is not None:
        return standing
    before = standing.seat
    keeps = seat is None or (before is not None and (seat.holder, seat.epoch) == (replica.leader, before.epoch))
    above = max(standing.above, 0 if seat is None else seat.epoch)
    return Standing(seat, now, standing.renewed_at if keeps else None, above, standing.over)


def next_call(standing: Standing, replica: Replica, now: float, wall: datetime, stamp: str = "") -> Call | None:
    """What to send now: a renewal, or what makes this replica the leader; None while another one is, or may be.

    `wall` stands in the Lease for people. `stamp`: that of the clock of this leader; empty leaves the one that is there.
    """
    seat, since = standing.seat, standing.since
    is_over = since is not None and now >= since + LASTS_S
    if seat is None:
        if not is_over and not standing.may_write(now):
            return None  # somebody may have removed it, and then its leader does not know that yet
        body = _body(replica, "", standing.above + 1, wall, is_new=True)
        metadata = {"name": replica.lease_name, **body["metadata"]}
        return Create(
            Kind.LEASE,
            replica.lease_name,
            {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **body, "metadata": metadata},
        )
    if standing.may_write(now):
        body = _body(replica, seat.version, seat.epoch, wall, stamp=stamp)
        return Patch(Kind.LEASE, replica.lease_name, seat.version, body)
    if seat.holder in {"", replica.leader} or is_over:
        epoch = max(seat.epoch, standing.above) + 1
        return Patch(
            Kind.LEASE, replica.lease_name, seat.version, _body(replica, seat.version, epoch, wall, is_new=True)
        )
    return None


def answered(standing: Standing, replica: Replica, answer: Answer, sent_at: float, now: float) -> Standing:
    """What is known once the call of `next_call`, which was sent then, was answered. Unless it is DONE, read the Lease.

    A leader that has no answer leads on until its time is over: the next renewal may come through. One whose term was ended
    meanwhile does not: a term that begins twice would give its generations twice.
    """
    if answer.verdict is not Verdict.DONE:
        return standing
    known = seen(standing, replica, answer.found, now)
    is_over = known.seat is not None and known.seat.epoch <= known.over
    return known if is_over else replace(known, renewed_at=sent_at)


def resignation(standing: Standing, replica: Replica) -> Patch | None:
    """What a leader sends when it stops, so that nobody has to wait; None if it does not lead."""
    if standing.renewed_at is None or standing.seat is None:
        return None
    return Patch(Kind.LEASE, replica.lease_name, standing.seat.version, {"spec": {"holderIdentity": ""}})


def _seat_of(lease: Mapping[str, Any]) -> Seat:
    metadata, spec = lease["metadata"], lease.get("spec") or {}
    try:
        epoch = int(spec.get("leaseTransitions") or 0)
    except (TypeError, ValueError) as error:
        raise StoreError(f"What stands in the Lease {metadata['name']} cannot be read ({error}).") from error
    known = metadata.get("annotations") or {}
    address, stamp = str(known.get(ADDRESS, "")), str(known.get(STAMP, ""))
    return Seat(metadata["resourceVersion"], str(spec.get("holderIdentity") or ""), epoch, address, stamp)


def _body(
    replica: Replica, after: str, epoch: int, wall: datetime, *, is_new: bool = False, stamp: str = ""
) -> dict[str, Any]:
    at = _micro_time(wall)
    spec = {
        "holderIdentity": replica.leader,
        "leaseDurationSeconds": round(LASTS_S),
        "leaseTransitions": epoch,
        "renewTime": at,
    }
    return {
        "metadata": {"annotations": {ADDRESS: replica.address, AFTER: after, **({STAMP: stamp} if stamp else {})}},
        "spec": spec | ({"acquireTime": at} if is_new else {}),
    }


def _micro_time(wall: datetime) -> str:
    """Kubernetes takes no other number of digits than six."""
    return wall.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
