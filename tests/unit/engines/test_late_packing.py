"""Large values are packed beside the loop, and small ones at once."""

from __future__ import annotations

import asyncio
import threading

import pytest

from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.engines.late_packing import SMALL_BYTES, packed
from worker_orchestrator.errors import InvalidInput

HALF = SMALL_BYTES // 2
SMALL = LateValues({"A": "a" * (HALF - 1)}, {"s": "b"}, bytes(HALF))
LARGE = LateValues({"A": "a" * HALF}, {"s": "b"}, bytes(HALF))


@pytest.mark.parametrize(("values", "is_here"), [(SMALL, True), (LARGE, False)], ids=["small", "large"])
def test_only_large_values_are_worth_a_thread(values: LateValues, *, is_here: bool) -> None:
    thread = asyncio.run(packed(values, threading.get_ident))
    assert (thread == threading.get_ident()) is is_here


@pytest.mark.parametrize("values", [SMALL, LARGE], ids=["small", "large"])
def test_what_cannot_be_packed_is_raised_all_the_same(values: LateValues) -> None:
    def refused() -> bytes:
        raise InvalidInput("no")

    with pytest.raises(InvalidInput, match="no"):
        asyncio.run(packed(values, refused))
