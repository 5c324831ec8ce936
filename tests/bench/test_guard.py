"""What a warm assign costs, counted: no computer and no noise has a say in it, so the figures are exact.

Who makes a figure smaller writes the smaller one here. Who needs a larger one says in the commit what it buys.
"""

from __future__ import annotations

from typing import Final

import pytest
from bench.counts import PAIRS, Counted, counted

CALLS: Final = 300
"""Python functions that a pair calls, those of the client in the same process included. A little more than measured, since
what arrives together differs from time to time."""
PEAK_BYTES: Final = 32 * 1024
LEFT_BLOCKS: Final = 20
"""Blocks of memory that a pair leaves to the garbage collector, or for good."""

SETTLES: Final = ["BEGIN", "INSERT", "COMMIT"]
"""What follows the reply."""

Counts = dict[str, Counted]


@pytest.fixture(scope="module")
def counts() -> Counts:
    return counted()


def test_a_warm_assign_is_one_statement(counts: Counts) -> None:
    """The machine, with its event, which holds the generation as well; that goes to its table a millisecond later.

    On a busy computer the client may read its reply after that.
    """
    assert counts["assign"].verbs + counts["a moment later"].verbs == ["UPDATE", *SETTLES]
    assert counts["release"].verbs in (["UPDATE"], ["UPDATE", *SETTLES])


def test_a_warm_assign_and_its_release_ask_the_engine_nothing(counts: Counts) -> None:
    assert not counts["assign"].engine
    assert not counts["release"].engine


def test_asking_again_stores_nothing(counts: Counts) -> None:
    assert not counts["assign again"].statements
    assert not counts["assign again"].engine


def test_the_list_asks_neither_the_database_nor_the_engine(counts: Counts) -> None:
    assert not counts["list"].statements
    assert not counts["list"].engine


def test_assigns_that_come_together_share_one_transaction(counts: Counts) -> None:
    """In one packet each, and answered in one turn of the loop; the first does not know yet that others come.

    Its event goes to the table with theirs, or before them where they come a millisecond later.
    """
    first, *others = counts["three at once"].verbs
    is_settled = others[:3] == SETTLES
    together = ["BEGIN", *["UPDATE"] * 2, *["INSERT"] * (2 if is_settled else 3), "COMMIT"]
    assert first == "UPDATE"
    assert others[3 * is_settled :][: len(together)] == together


def test_a_reply_is_no_longer_than_it_was(counts: Counts) -> None:
    assert counts["assign"].reply_bytes == 306
    assert counts["release"].reply_bytes == 234


def test_a_pair_does_no_more_work_than_it_did(counts: Counts) -> None:
    """In calls of Python functions: what makes a pair twice as dear makes it call twice as much, on every computer."""
    assert counts["pair"].calls <= CALLS


def test_an_assign_needs_little_memory_and_leaves_next_to_nothing_behind(counts: Counts) -> None:
    assert counts["memory of an assign"].peak_bytes <= PEAK_BYTES
    assert counts[f"memory of {PAIRS} pairs"].blocks <= LEFT_BLOCKS * PAIRS
