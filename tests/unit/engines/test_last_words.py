"""A worker's last words."""

from __future__ import annotations

import pytest

from worker_orchestrator.engines.last_words import without_values


@pytest.mark.parametrize(
    ("text", "env", "shown"),
    [
        ("cannot reach pg://u:s3cret@db", {"DATABASE_URL": "pg://u:s3cret@db"}, "cannot reach $DATABASE_URL"),
        ("pg://u:s3cret@db", {"PASSWORD": "s3cret", "DATABASE_URL": "pg://u:s3cret@db"}, "$DATABASE_URL"),
        ("s3cret\ns3cret", {"PASSWORD": "s3cret"}, "$PASSWORD\n$PASSWORD"),
        ("exit 1", {"LEVEL": "1", "EMPTY": ""}, "exit 1"),
        ("no file", {}, "no file"),
    ],
)
def test_they_name_variables_and_never_show_their_values(text: str, env: dict[str, str], shown: str) -> None:
    assert without_values(text, env) == shown
