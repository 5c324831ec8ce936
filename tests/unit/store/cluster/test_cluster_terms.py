from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_orchestrator.store.cluster.terms import GENERATIONS, NO_TERM, Term, epoch_of, generation_before

EPOCHS = st.integers(0, 2**23 - 1)


@given(EPOCHS, st.integers(1, GENERATIONS - 1))
def test_a_generation_says_in_which_epoch_it_was_given(epoch: int, number: int) -> None:
    generation = generation_before(epoch) + number
    assert epoch_of(generation) == epoch
    assert generation < 2**53, "readers of JSON count exactly up to there"


@given(EPOCHS, st.integers(1, GENERATIONS - 1))
def test_the_first_generation_of_a_term_is_above_all_of_earlier_ones(epoch: int, number: int) -> None:
    assert generation_before(epoch) + number < generation_before(epoch + 1) + 1


@given(st.builds(Term, EPOCHS, st.text("abc-. 019")))
def test_a_term_is_read_as_it_was_written(term: Term) -> None:
    assert Term.parse(str(term)) == term


@pytest.mark.parametrize("text", ["", "seven us", " us"])
def test_what_is_no_term_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        Term.parse(text)


def test_of_two_terms_with_one_epoch_none_is_older() -> None:
    assert not Term(7, "a").is_older_than(Term(7, "b"))
    assert not Term(7, "b").is_older_than(Term(7, "a"))
    assert NO_TERM.is_older_than(Term(1, "a"))
