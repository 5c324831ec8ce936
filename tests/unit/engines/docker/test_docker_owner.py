"""Whose number a container's user has."""

from __future__ import annotations

import pytest

from worker_orchestrator.engines.docker.owner import numeric_owner, owner_named

PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/:/bin/sh\nhalf:x:7\nodd:x:minus:1::/:\nbig:x:4294967295:1::/:\n"
)


@pytest.mark.parametrize(
    ("user", "owner"),
    [
        ("", (0, 0)),
        ("0", (0, 0)),
        ("1000", (1000, 0)),
        ("1000:100", (1000, 100)),
        ("1000:staff", (1000, 0)),
        ("web", None),
        ("web:100", None),
        ("4294967295", None),
        ("99999999999", None),
        ("٣", None),
        ("-1", None),
    ],
)
def test_a_user_by_number_needs_no_list(user: str, owner: tuple[int, int] | None) -> None:
    assert numeric_owner(user) == owner


@pytest.mark.parametrize(
    ("user", "owner"),
    [
        ("web", (33, 34)),
        ("web:7", (33, 7)),
        ("web:staff", (33, 34)),
        ("root", (0, 0)),
        ("half", None),
        ("odd", None),
        ("big", None),
        ("nobody", None),
    ],
)
def test_a_user_by_name_is_in_the_list(user: str, owner: tuple[int, int] | None) -> None:
    assert owner_named(user, PASSWD) == owner
