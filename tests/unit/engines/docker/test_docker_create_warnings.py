"""What an engine warns of at a create: mostly that it dropped something that was asked for."""

from __future__ import annotations

import pytest

from worker_orchestrator.engines.docker.create_warnings import dropped, is_worth_telling

DROPPED = (
    "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
    "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.",
    "Your kernel does not support CPU CFS quota or the cgroup is not mounted. Quota discarded.",
    "Published ports are discarded when using host network mode",
    "IPv4 forwarding is disabled. Networking will not work.",
)
KEPT = (
    "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
    "The requested image's platform (linux/arm64) does not match the detected host platform (linux/amd64/v3)",
    "",
)


@pytest.mark.parametrize("warning", DROPPED)
def test_a_dropped_option_is_found_among_others(warning: str) -> None:
    assert dropped([*KEPT, warning]) == warning


def test_what_is_kept_is_only_told() -> None:
    assert dropped(KEPT) == ""
    assert dropped([]) == ""
    assert [is_worth_telling(warning) for warning in KEPT] == [True, True, False]
