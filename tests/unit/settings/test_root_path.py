"""The setting `root_path`: what is read as what, and what is refused with which words."""

from __future__ import annotations

from typing import Any

import pytest

from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings.loading import load


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("/pool", "/pool"),
        ("/pool/", "/pool"),
        (" /a/b-c_d.e/ ", "/a/b-c_d.e"),
        ("/~me/Pool", "/~me/Pool"),
        ("/v1x", "/v1x"),
        ("/", ""),
        ("", ""),
    ],
)
def test_a_path_is_read_without_a_slash_at_its_end(value: str, read: str) -> None:
    assert load({"root_path": value}, {}).root_path == read


@pytest.mark.parametrize(
    "value",
    [
        *("pool", "https://example.com/pool", "/a//b", "//pool", "/a/../b", "/.", "/a b", "/p%6fol", "/pööl"),
        *("/a?b", "/a#b", "/a;b"),
        *("/v1", "/v1/pool", "/docs", "/health/x", "/assets", "/login", "/.well-known/x", "/" + "a" * 200, 7, ["/pool"]),
    ],
)  # fmt: skip
def test_what_is_no_path_or_the_services_own_is_refused_in_one_sentence(value: Any) -> None:
    with pytest.raises(InvalidSetting) as refused:
        load({"root_path": value}, {})
    allowed = (
        "a path such as /pool, of letters, digits, - and _, that begins with none of the service's own, such as /v1."
    )
    assert refused.value.message == f"--root-path is {value!r}, but must be {allowed}"


def test_the_file_and_the_environment_have_it_too(tmp_path: Any) -> None:
    config = tmp_path / "o.toml"
    config.write_text('root_path = "/pool"\n')
    assert load({}, {}, config).root_path == "/pool"
    assert load({}, {"ORCHESTRATOR_ROOT_PATH": "/pool/"}).root_path == "/pool"
