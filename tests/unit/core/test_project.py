"""Which texts may name a project."""

from __future__ import annotations

import pytest

from worker_orchestrator.core.project import RESERVED_PROJECTS, is_project_id, is_reserved, project_id
from worker_orchestrator.errors import InvalidProject


@pytest.mark.parametrize(
    "text",
    [
        "cmj7fop3s0002tt2w50m0rvex",
        "a",
        "7",
        "A.b_c~d:e@f+g=h,i-j",
        "user@example.org",
        "-",
        "healthy",
        "Health",
        "apple-touch-icon",
        "well-known",
        "x" * 128,
    ],
)
def test_a_project_id_is_taken_as_it_is(text: str) -> None:
    """1 to 128 letters, digits or . _ ~ : @ + = , - name a project."""
    assert project_id(text) == text
    assert is_project_id(text)


@pytest.mark.parametrize(
    "text",
    ["", ".hidden", "..", "a b", "a/b", "a\n", "a%2Fb", "ä", "٣", "a?b", "a#b", "a;b", "a'b", 'a"b', "a*b", "a\\b"],
)
def test_other_texts_are_refused_with_one_sentence(text: str) -> None:
    """The sentence names the text and says what is allowed."""
    assert not is_project_id(text)
    with pytest.raises(InvalidProject) as refused:
        project_id(text)
    assert refused.value.message == (
        f"{text!r} is not a project id: use 1 to 128 letters, digits or . _ ~ : @ + = , - and do not start with a dot."
    )


@pytest.mark.parametrize(("length", "shown"), [(129, "x" * 40 + "…")])
def test_a_long_text_is_shown_in_part(length: int, shown: str) -> None:
    """129 letters are too many, and 40 of them are enough to recognise it."""
    with pytest.raises(InvalidProject) as refused:
        project_id("x" * length)
    assert refused.value.message.startswith(f"'{shown}' is not a project id: ")


def test_a_text_of_forty_letters_is_shown_in_full() -> None:
    """Only what is longer than 40 letters is cut."""
    with pytest.raises(InvalidProject) as refused:
        project_id("/" * 40)
    assert refused.value.message.startswith(f"'{'/' * 40}' is not a project id: ")
    with pytest.raises(InvalidProject) as refused:
        project_id("/" * 41)
    assert refused.value.message.startswith(f"'{'/' * 40}…' is not a project id: ")


def test_names_that_the_service_and_browsers_ask_for_are_reserved() -> None:
    """Nobody gets a machine because a browser looked for an icon."""
    assert {
        "health",
        "machines",
        "destroy",
        "v1",
        "docs",
        "openapi.json",
        "metrics",
        "livez",
        "readyz",
        "login",
        "logout",
        "assets",
        "static",
        "favicon.ico",
        "robots.txt",
    } == RESERVED_PROJECTS


@pytest.mark.parametrize(
    "text",
    [
        *sorted(RESERVED_PROJECTS),
        ".well-known",
        ".well-known-more",
        "apple-touch-icon.png",
        "apple-touch-icon-120x120-precomposed.png",
    ],
)
def test_a_reserved_name_is_no_project(text: str) -> None:
    """It is refused as what it is."""
    assert is_reserved(text)
    assert not is_project_id(text)
    with pytest.raises(InvalidProject) as refused:
        project_id(text)
    assert refused.value.message == f"{text!r} is a reserved name and cannot be a project id."


@pytest.mark.parametrize(
    "text", ["project", "xfavicon.ico", "an-apple-touch-icon.png", "apple-touch-icon-png", "HEALTH"]
)
def test_a_name_that_only_resembles_a_reserved_one_is_free(text: str) -> None:
    """A reserved name is reserved as it is written."""
    assert not is_reserved(text)
    assert project_id(text) == text
