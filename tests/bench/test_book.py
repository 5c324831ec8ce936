"""What was measured at several times stays apart, and the page says which was when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.book import Book, read, write

if TYPE_CHECKING:
    from pathlib import Path


def _book(commit: str, **values: float) -> Book:
    return Book({name: [value] for name, value in values.items()}, {}, {"commit": commit, "cores": "2"})


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    books = {"cold": _book("old", cold=1.0), "warm": _book("new", warm=2.0)}
    write(tmp_path / "a folder" / "results.json", books)
    assert read(tmp_path / "a folder" / "results.json") == books


def test_a_question_asked_again_leaves_nothing_of_before(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write(path, {"warm": _book("old", warm=1.0, gone=1.0)})
    write(path, read(path) | {"warm": _book("new", warm=2.0)})
    assert Book.merged(read(path)).values == {"warm": [2.0]}


def test_where_all_was_measured_together_nothing_is_said_of_questions() -> None:
    whole = Book.merged({"cold": _book("new", cold=1.0), "warm": _book("new", warm=2.0)})
    assert whole == Book({"cold": [1.0], "warm": [2.0]}, {}, {"commit": "new", "cores": "2"})


def test_what_differs_is_said_with_its_questions() -> None:
    whole = Book.merged({"cold": _book("old"), "list": _book("old"), "warm": _book("new")})
    assert whole.about == {"commit": "old (cold, list); new (warm)", "cores": "2"}
