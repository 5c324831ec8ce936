"""What a running service tells of the past, also of that before its last start; and of what a worker was created with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.integration.conftest import Start
from tests.integration.docker_command import a_name, docker, make_image, remove_image
from tests.integration.running import Running
from tests.integration.waiting import eventually


def history(service: Running, seconds: int = 3600) -> Any:
    answer = service.get(f"/v1/history?seconds={seconds}")
    assert answer.status == 200, answer.text
    return answer.json


def test_the_history_survives_a_restart(start: Start) -> None:
    """What was assigned before it is counted in the samples after it."""
    service = start()
    service.await_idle(2)
    first = eventually(lambda: history(service)["samples"], "there is a sample at once")[0]
    assert first["at"] <= datetime.now(UTC).isoformat().replace("+00:00", "Z")
    for project in ("a", "b", "a"):
        service.assign(project)
    service.end()
    service.start()
    eventually(lambda: history(service)["samples"][2:], "there is a sample of this start")
    for seconds, step in ((3600, 10), (86400, 120)):
        told = history(service, seconds)
        assert told["step_seconds"] == step
        samples = told["samples"]
        assert sum(sample["warm"] + sample["cold"] for sample in samples) == 2
        assert [samples[0]["assigned"], samples[-2]["assigned"], samples[-1]["assigned"]] == [0, 2, 2]
        assert [sample["at"] for sample in samples] == sorted(sample["at"] for sample in samples)
        assert max(sample["p50_ms"] or 0 for sample in samples) > 0
        assert samples[-1]["p50_ms"] is None
    recent = history(service, 60)["samples"]
    assert datetime.fromisoformat(recent[0]["at"]) > datetime.now(UTC) - timedelta(seconds=61)


@pytest.mark.parametrize("seconds", ["59", "86401", "", "-1", "1e3", "3600.0"])
def test_a_time_that_is_not_kept_is_refused(shared: Running, seconds: str) -> None:
    answer = shared.get(f"/v1/history?seconds={seconds}")
    assert (answer.status, "seconds" in answer.text) == (400, True)


@pytest.fixture
def image(example_image: str) -> Iterator[str]:
    """With an environment of its own."""
    tag = f"{a_name('image')}:latest"
    make_image(tag, "ENV BUILT_WITH=make", "ENV REGISTRY_TOKEN=from-the-image")
    yield tag
    remove_image(tag)


def test_the_environment_of_a_worker_is_told_without_its_secrets(start: Start, image: str) -> None:
    """Those of the image and those of the settings; also of one that does not run."""
    service = start("--image", image, "--env", "API_KEY=from-the-settings", "--env", "DB=postgresql://me:geheim@db/app")
    machine = service.assign("p")["containerId"]
    path = f"/v1/machines/{machine}/environment"
    answer = service.get(path)
    assert answer.status == 200, answer.text
    told = {one["name"]: (one["value"], one["hidden"]) for one in answer.json["variables"]}
    assert told["BUILT_WITH"] == ("make", False)
    assert told["REGISTRY_TOKEN"] == ("…", True)
    assert told["API_KEY"] == ("…", True)
    assert told["DB"] == ("postgresql://me:…@db/app", True)
    assert [*told] == sorted(told)
    assert not any(secret in answer.text for secret in ("from-the-image", "from-the-settings", "geheim"))
    docker("pause", machine)
    assert service.get(path).json == answer.json


def test_an_engine_without_environments_says_so(start: Start) -> None:
    service = start("--engine", "memory")
    machine = service.await_idle(2)[0]
    answer = service.get(f"/v1/machines/{machine}/environment")
    assert (answer.status, "not_supported" in answer.text) == (501, True)
