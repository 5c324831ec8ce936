"""What users read: tests/unit/words.txt has every text, to be read in one place, and all of them keep a few rules."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker_orchestrator.core import reasons

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "words"))
TEXTS: list[tuple[str, str, str]] = list(SCRIPT["texts"]())
FRAGMENTS = {
    # Each of these stands behind a colon in a list of the places that were tried.
    "it wants TLS; set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH",
    "what answers there is not a Docker engine (HTTP {response.status})",
    "the Python package asyncssh is missing: `pip install 'aiodocker[ssh]'`",
    "bad TLS file {named}: {reason}",
    "what answers at its address may be {other}",  # a detail of a probe
    reasons.RESTART_REQUESTED_BEFORE,
}
NO_ENGLISH = re.compile(r"is exited|its container is|container is exited|somebody else's container|goes when")
"""What was said once, and read as translated."""


def of_kind(kind: str) -> Iterator[tuple[str, str]]:
    return ((module, text) for module, its_kind, text in TEXTS if its_kind == kind and text not in FRAGMENTS)


def test_the_list_of_texts_is_that_of_the_source() -> None:
    """Run `scripts/words` after a change of a text, and read what it changed in the list."""
    assert SCRIPT["LIST"].read_text(encoding="utf-8") == SCRIPT["listed"]()


@pytest.mark.parametrize("kind", ["sentence", "help", "log", "piece"])
def test_each_kind_of_text_is_found(kind: str) -> None:
    assert sum(1 for _ in of_kind(kind)) >= 10


def test_a_sentence_ends_as_one() -> None:
    """Or with a value, which is then a sentence itself."""
    assert [found for found in of_kind("sentence") if not re.search(r"(?:[.?!…]\)?|\})$", found[1])] == []


def test_a_sentence_begins_as_one() -> None:
    """With a capital letter, a value, or the name of a setting, a parameter or an option."""
    name = r"[a-z_]+ (?:is|has|must|may|and token_file)\b"
    assert [found for found in of_kind("sentence") if not re.match(rf"[A-Z{{`\"/-]|{name}", found[1])] == []


def test_the_help_of_an_option_is_a_sentence() -> None:
    assert [found for found in of_kind("help") if not re.fullmatch(r"[A-Z-].*(?:\.|\])", found[1], re.DOTALL)] == []


def test_the_event_of_a_log_line_is_a_fragment() -> None:
    assert [found for found in of_kind("log") if found[1][0].isupper() or found[1].endswith(".")] == []


def test_backticks_come_in_pairs() -> None:
    """Pieces may be put together to a pair."""
    assert [found for found in (*of_kind("sentence"), *of_kind("help")) if found[1].count("`") % 2] == []


def test_no_text_has_two_blanks_in_a_row() -> None:
    """Pieces are also columns."""
    found = [*of_kind("sentence"), *of_kind("help"), *of_kind("log")]
    assert [(module, text) for module, text in found if "  " in text] == []


def test_no_text_reads_as_translated() -> None:
    assert [(module, text) for module, _, text in TEXTS if NO_ENGLISH.search(text)] == []


@pytest.mark.parametrize(
    "name", [name for name in reasons.__all__ if name.isupper() and name != "RESTART_REQUESTED_BEFORE"]
)
def test_a_fixed_reason_is_a_full_sentence(name: str) -> None:
    assert re.fullmatch(r"[A-Z][^.]+\.(?: [A-Z][^.]+\.)*", getattr(reasons, name))


def test_no_fragment_is_exempt_in_vain() -> None:
    assert {text for _, _, text in TEXTS} >= FRAGMENTS
