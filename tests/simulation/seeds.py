"""Which histories are lived through, and on how many cores: the same for each kind of history.

`SEEDS=20000` names the first 20,000, `SEEDS=5000:6000` and `SEED=4711` which ones.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import pytest

__all__ = ["insist_on", "report_of", "seeds"]

CHUNK: Final = 10


def seeds(usual: str) -> range:
    """The seeds that the environment names; else the `usual` ones."""
    if "SEED" in os.environ:
        seed = int(os.environ["SEED"])
        return range(seed, seed + 1)
    first, _, last = os.environ.get("SEEDS", usual).rpartition(":")
    return range(int(first or 0), int(last))


def insist_on(report_of: Callable[[int], str], usual: str) -> None:
    """Fail with the first report that is not empty, and the seeds of others. `report_of` is a function of a module."""
    failures = [text for text in _reports(report_of, seeds(usual)) if text]
    if failures:
        others = ", ".join(text.partition(":")[0] for text in failures[1:20])
        pytest.fail(f"{len(failures)} of {len(seeds(usual))} histories. {failures[0]}\nand {others}", pytrace=False)


def _reports(report_of: Callable[[int], str], todo: range) -> Iterator[str]:
    cores = os.cpu_count() or 1
    if len(todo) <= CHUNK or cores == 1:
        yield from map(report_of, todo)
        return
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as processes:
        yield from processes.map(report_of, todo, chunksize=CHUNK)


def report_of(seed: int, live: Callable[[int], object], violated: type[AssertionError], file: str) -> str:
    """What went wrong in the history of this seed, with how to live through it again; empty if nothing did."""
    try:
        live(seed)
    except violated as error:
        defect = "".join(traceback.format_exception(error.__cause__))
        again = f"SEED={seed} python -m pytest tests/simulation/{file} lives through it again."
        return f"seed {seed}: {error}\n{defect}\n{again}"
    except BaseException:  # noqa: BLE001 # whatever it is, the seed must be told
        return f"seed {seed}: the simulation itself failed\n{traceback.format_exc()}"
    return ""
