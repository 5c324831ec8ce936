"""When an assignment ends by time."""

from __future__ import annotations

import pytest

from worker_orchestrator.core.lease import (
    NO_TERMS,
    Ending,
    EndsBy,
    Lease,
    Quiet,
    Terms,
    certain_ending,
    ending,
    silent_ending,
    unannounced_ending,
)


def test_no_terms_are_no_deadline() -> None:
    assert not NO_TERMS
    assert not Terms()
    assert Terms(ttl=1)
    assert ending(Lease(NO_TERMS, 0, 0), Quiet()) is None
    assert certain_ending(Lease(NO_TERMS, 0, 0), Quiet()) is None


@pytest.mark.parametrize("name", ["ttl", "max_age", "idle_timeout", "confirm_within"])
def test_terms_are_changed_one_by_one_and_0_takes_one_away(name: str) -> None:
    terms = Terms(1, 2, 3, 4)
    assert getattr(terms.changed(Terms(**{name: 9})), name) == 9
    assert getattr(terms.changed(Terms(**{name: 0})), name) is None
    assert terms.changed(Terms(**{name: 9})).changed(Terms(**{name: getattr(terms, name)})) == terms
    assert terms.changed(NO_TERMS) == terms


@pytest.mark.parametrize(
    ("asked", "most", "found"),
    [(5, None, 5), (5, 9, 5), (0.5, 9, 0.5), (9, 9, 9), (10, 9, 9), (0, 9, 9), (None, 9, None)],
)
def test_nobody_has_a_machine_for_longer_than_the_operator_lets_anybody(
    asked: float | None, most: float | None, found: float | None
) -> None:
    """0 asks for no limit, and None says nothing of it."""
    assert Terms(1, asked, 3, 4).capped(most) == Terms(1, found, 3, 4)


def test_only_silence_needs_to_be_read() -> None:
    assert not Terms(ttl=1, max_age=1).needs_activity
    assert Terms(idle_timeout=1).needs_activity
    assert Terms(confirm_within=1).needs_activity


def test_a_ttl_begins_with_each_renewal_and_a_max_age_with_the_assignment() -> None:
    lease = Lease(Terms(ttl=10, max_age=100), assigned_at=1000, renewed_at=1050)
    assert ending(lease, Quiet()) == Ending(1060, EndsBy.TTL)
    later = Lease(Terms(ttl=10, max_age=100), assigned_at=1000, renewed_at=1095)
    assert ending(later, Quiet()) == certain_ending(later, Quiet()) == Ending(1100, EndsBy.MAX_AGE)


@pytest.mark.parametrize(
    ("terms", "by"), [(Terms(idle_timeout=20), EndsBy.IDLE_TIMEOUT), (Terms(confirm_within=20), EndsBy.CONFIRM_WITHIN)]
)
def test_silence_ends_nothing_before_a_reading_has_shown_it(terms: Terms, by: EndsBy) -> None:
    lease, quiet = Lease(terms, 1000, 1000), Quiet(active_at=1000)
    assert ending(lease, quiet) == Ending(1020, by, is_certain=False)
    assert ending(Lease(terms, 0, 0), Quiet()) == Ending(20, by, is_certain=False), "the clock may begin with 0"
    quiet.note(1004, is_active=False)
    assert ending(lease, quiet) == unannounced_ending(lease, quiet, None) == Ending(1024, by, is_certain=False)
    quiet.note(1023.9, is_active=False)
    assert certain_ending(lease, quiet) is None
    quiet.note(1024, is_active=False)
    assert certain_ending(lease, quiet) == Ending(1024, by)


def test_a_reading_that_fails_is_no_silence() -> None:
    """Two readings as far apart as the time-out are needed, without a gap between them."""
    lease, quiet = Lease(Terms(idle_timeout=20), 1000, 1000), Quiet(active_at=1000)
    for at in (1000, 1010, 1019):
        quiet.note(at, is_active=False)
    quiet.note(1020, is_active=None)
    assert ending(lease, quiet) == Ending(1020, EndsBy.IDLE_TIMEOUT, is_certain=False)
    quiet.note(1030, is_active=False)
    assert certain_ending(lease, quiet) is None
    quiet.note(1050, is_active=False)
    assert certain_ending(lease, quiet) == Ending(1050, EndsBy.IDLE_TIMEOUT)


def test_each_activity_begins_the_silence_anew() -> None:
    lease, quiet = Lease(Terms(idle_timeout=20), 1000, 1000), Quiet(active_at=1000)
    quiet.note(1000, is_active=False)
    quiet.note(1010, is_active=True)
    assert (quiet.since, quiet.active_at) == (1010, 1010)
    quiet.note_activity(1015)
    quiet.note(1034, is_active=False)
    assert certain_ending(lease, quiet) is None
    quiet.note(1035, is_active=False)
    assert certain_ending(lease, quiet) == Ending(1035, EndsBy.IDLE_TIMEOUT)
    assert quiet.active_at == 1015


def test_activity_that_is_not_read_begins_no_row_of_readings() -> None:
    quiet = Quiet()
    quiet.note_activity(1015)
    assert (quiet.since, quiet.active_at) == (None, 1015)
    lease = Lease(Terms(idle_timeout=20), 1000, 1000)
    assert ending(lease, quiet) == Ending(1035, EndsBy.IDLE_TIMEOUT, is_certain=False)


def test_an_assignment_that_was_used_once_need_not_be_confirmed() -> None:
    quiet = Quiet(active_at=1000)
    quiet.note(1000, is_active=False)
    quiet.note(1030, is_active=False)
    terms = Terms(confirm_within=20)
    assert certain_ending(Lease(terms, 1000, 1000), quiet) == Ending(1020, EndsBy.CONFIRM_WITHIN)
    assert ending(Lease(terms, 1000, 1000, is_used=True), quiet) is None


def test_only_the_deadlines_of_silence_end_by_silence() -> None:
    quiet = Quiet()
    lease = Lease(Terms(ttl=1, max_age=1, idle_timeout=20, confirm_within=10), 1000, 1000)
    assert silent_ending(lease, quiet) is None
    quiet.note(1005, is_active=False)
    assert silent_ending(lease, quiet) == 1015
    assert silent_ending(Lease(lease.terms, 1000, 1000, is_used=True), quiet) == 1025
    assert silent_ending(Lease(Terms(ttl=1, max_age=1), 1000, 1000), quiet) is None
