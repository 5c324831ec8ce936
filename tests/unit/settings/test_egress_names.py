"""How names that workers may reach are written."""

from __future__ import annotations

import pytest

from worker_orchestrator.settings.egress_names import Entry, outbound, read_entry
from worker_orchestrator.settings.pool import PoolSettings


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("Packages.Example.com", Entry("packages.example.com")),
        ("*.example.org", Entry("example.org", below=True)),
        ("git.example.com:8443", Entry("git.example.com", port=8443)),
        ("index:8080=10.0.0.5", Entry("index", port=8080, address="10.0.0.5")),
        ("index.example=fd00::1", Entry("index.example", address="fd00::1")),
        ("a.example.", Entry("a.example")),
    ],
)
def test_an_entry_is_read(text: str, entry: Entry) -> None:
    assert read_entry(text) == entry


@pytest.mark.parametrize(
    "text",
    [
        *("none", "*", "*.", "*.com", "1.2.3.4", "10.0.0.1:80", "[::1]", "a..example.com", "-a.example.com", ""),
        *("https://a.example.com", "a.example.com/x", "a.example.com:0", "a.example.com:70000", "a.*.example.com"),
        *(
            "*.example.com=10.0.0.1",
            "a.example.com=10.0.0",
            "a.example.com=10.0.0.0/8",
            "a b.example.com",
            "a.example.com\nx",
        ),
        *("a.example.com http_access", "a.example.com=", "ä.example.com"),
    ],
)
def test_what_is_no_entry_is_refused(text: str) -> None:
    """Nothing of a settings file becomes a line of Squid's."""
    with pytest.raises(ValueError, match=r"names that workers may reach|does not appear to be"):
        read_entry(text)
    with pytest.raises(ValueError, match="names that workers may reach"):
        outbound([text])


def test_a_list_and_a_text_are_the_same() -> None:
    assert (
        outbound("a.example.com, *.b.example")
        == outbound(["a.example.com", "*.b.example"])
        == ("a.example.com", "*.b.example")
    )
    assert [outbound(word) for word in ("any", "host")] == ["any", "host"]


@pytest.mark.parametrize("value", [[], ["any"], [1], 3, None, "any,host", ["a.example.com"] * 257])
def test_what_is_no_list_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="names that workers may reach"):
        outbound(value)


def test_the_kind_of_a_list_is_names() -> None:
    kinds = [PoolSettings(outbound=value).outbound_kind for value in ("any", "host", ("a.example.com",))]
    assert kinds == ["any", "host", "names"]
