"""The names of projects in host names: one label for each project and each of its ports, and never one for two."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from worker_orchestrator.core.preview_names import Label, label_of, name_of, read_label
from worker_orchestrator.core.project import CHARACTERS, is_project_id

PROJECTS = st.one_of(
    st.text("abx27-", min_size=1, max_size=45),
    st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=32, max_size=32),
    st.text(CHARACTERS, min_size=1, max_size=128),
).filter(is_project_id)
PORTS = st.one_of(st.just(""), st.just("x"), st.from_regex(r"[ax][a-z0-9-]{0,30}", fullmatch=True))
HASHED = "x--" + "a" * 32


@pytest.mark.parametrize("project", ["a", "7", "my-project", "cmj7fop3s0002tt2w50m0rvex", "a" * 40, "x", "x-y"])
def test_a_project_whose_id_can_stand_in_a_host_name_has_it_as_its_name(project: str) -> None:
    assert name_of(project) == label_of(project) == project
    assert read_label(project) == Label(project=project)


@pytest.mark.parametrize("project", ["My-project", "a" * 41, "a--b", "xn--a", "-a", "a-", "a.b", "user@example.org"])
def test_any_other_has_a_part_of_its_digest(project: str) -> None:
    name = name_of(project)
    assert re.fullmatch(r"x--[a-z2-7]{32}", name)
    label = read_label(name)
    assert label is not None
    assert label.project is None
    assert label.is_of(project)
    assert not label.is_of(f"{project}2")


def test_the_digest_is_that_of_the_id_and_stays_as_it_is() -> None:
    """Addresses are in bookmarks."""
    assert name_of("My-project") == "x--lu2mbdyo56g2kshoszg5jvsj66eroqbj"


@pytest.mark.parametrize(
    ("label", "port", "project"),
    [("api--my-project", "api", "my-project"), ("a--b--c", "a--b", "c"), ("a---b", "a-", "b"), ("x--y", "x", "y")],
)
def test_a_port_stands_before_the_name(label: str, port: str, project: str) -> None:
    assert read_label(label) == Label(port, project)
    assert label_of(project, port) == label


@pytest.mark.parametrize(
    "label",
    [
        "",
        "-",
        "a-",
        "-a",
        "A",
        "a.b",
        "a_b",
        "ä",
        "a\n",
        "a" * 41,
        "--a",
        "7--a",
        "a--",
        "health",
        f"7--{HASHED}",
        f"--{HASHED}",
        "x--" + "a" * 41,
        "a" * 22 + "--" + "b" * 40,
    ],
)
def test_a_label_that_no_project_has_says_nothing(label: str) -> None:
    assert read_label(label) is None


@pytest.mark.parametrize("label", [HASHED, f"api--{HASHED}", "a" * 21 + "--" + "b" * 40, "a" * 26 + f"--{HASHED}"])
def test_a_label_of_63_characters_is_not_too_long(label: str) -> None:
    assert len(label) <= 63
    assert read_label(label) is not None


def test_a_port_that_looks_like_the_beginning_of_a_digest_is_told_from_one() -> None:
    """A project whose id looks like a digest, and a port called x."""
    project = "a" * 32
    assert label_of(project) == project
    label = label_of(project, "x")
    assert label is not None
    assert re.fullmatch(r"x--x--[a-z2-7]{32}", label)
    read = read_label(label)
    assert read is not None
    assert (read.port, read.project, read.is_of(project)) == ("x", None, True)


def test_a_port_whose_label_would_be_too_long_has_none() -> None:
    assert label_of("Project", "a" * 26) is not None
    assert label_of("Project", "a" * 27) is None
    assert label_of("b" * 40, "a" * 21) is not None
    shorter = label_of("b" * 40, "a" * 22)
    assert shorter is not None
    assert shorter.startswith("a" * 22 + "--x--")


@given(PROJECTS, PORTS)
def test_what_is_written_is_read_again(project: str, port: str) -> None:
    label = label_of(project, port)
    assume(label is not None)
    assert label is not None
    assert re.fullmatch(r"(?!-)[a-z0-9-]{1,63}(?<!-)", label)
    read = read_label(label)
    assert read is not None
    assert read.port == port
    assert read.is_of(project)


@given(PROJECTS, PORTS, PROJECTS, PORTS)
def test_no_two_projects_or_ports_share_a_label(one: str, port: str, other: str, other_port: str) -> None:
    assume((one, port) != (other, other_port))
    label = label_of(one, port)
    assert label is None or label != label_of(other, other_port)
