"""Request ids: what a caller sends is kept where it is fit for a log line."""

from __future__ import annotations

import pytest

from worker_orchestrator.telemetry.request_id import fit, new_id


@pytest.mark.parametrize("text", ["a", "0d5c7f1e-8a5b-4a57", "Root=1-67/abc:9@x+y=", "x" * 128])
def test_an_id_that_is_fit_is_kept(text: str) -> None:
    assert fit(text) == text


@pytest.mark.parametrize("text", ["", "x" * 129, "a b", "a\n", "a\x1b[31m", "ä", '"', "{}"])
def test_any_other_is_not(text: str) -> None:
    assert not fit(text)


def test_a_new_id_is_fit_and_new() -> None:
    made = [new_id() for _ in range(3)]
    assert [fit(one) for one in made] == made
    assert len(set(made)) == 3
