"""What `orchestrator reload` says of one change."""

from __future__ import annotations

import pytest

from worker_orchestrator.cli.reload import _line
from worker_orchestrator.wire.v1 import SettingChange


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
