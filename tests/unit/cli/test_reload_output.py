"""What `orchestrator reload` says of one change."""

from __future__ import annotations

import pytest

from worker_orchestrator.cli.reload import _line, _tell_applied
from worker_orchestrator.wire.v1 import Reloaded, SettingChange

NEW, LATER = SettingChange(pool="web", after="image a"), SettingChange(setting="port", before="1", needs_restart=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (SettingChange(pool="web"), "- pool web"),
        (SettingChange(pool="web", after="image a"), "+ pool web: image a"),
        (SettingChange(pool="web", setting="memory", before="1g", after="2g"), "~ pool web, memory: 1g -> 2g"),
        (
            SettingChange(setting="port", before="1", after="2", needs_restart=True),
            "~ port: 1 -> 2 (needs a restart)",
        ),
        (
            SettingChange(pool="web", setting="min_idle", before="1", after="2", holds=7),
            "~ pool web, min_idle: 1 -> 2 (`orchestrator scale` has set 7, which goes on to hold)",
        ),
    ],
)
def test_each_change_is_a_line(change: SettingChange, said: str) -> None:
    assert _line(change) == said


@pytest.mark.parametrize(
    ("changes", "applied", "is_said"),
    [([NEW, LATER], True, True), ([NEW], False, False), ([LATER], True, False), ([], True, False)],
)
def test_what_was_applied_without_a_question_is_said_to_be(
    *, changes: list[SettingChange], applied: bool, is_said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Reloaded(applied=applied, changes=changes)
    _tell_applied(found, "text")
    assert capsys.readouterr().out.endswith("\nApplied.\n") is is_said
    _tell_applied(found, "json")
    assert "Applied." not in capsys.readouterr().out
