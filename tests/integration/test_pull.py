"""A missing image is pulled, with the credentials that Docker's own tools would use."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.calling import Answer, call
from tests.integration.conftest import Start
from tests.integration.docker_command import EXAMPLE, docker, is_podman
from tests.integration.registry import PASSWORD, USER, Registry, flattened
from tests.integration.running import Running
from tests.integration.waiting import eventually


@pytest.fixture
def image(example_image: str) -> Iterator[str]:
    """A reference to an image that only a private registry has."""
    if is_podman():
        pytest.skip("Podman takes a registry without TLS only where its registries.conf names it")
    with Registry(*flattened(EXAMPLE)).serving() as address:
        reference = f"{address}/team/worker:1"
        yield reference
        docker("rmi", "-f", reference, check=False)


def log_in(folder: Path, registry: str, password: str) -> None:
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {registry: {"auth": auth}}}))


def test_a_missing_image_is_pulled_with_the_users_credentials(
    start: Start, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(tmp_path, image.partition("/")[0], PASSWORD)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    service = start("--image", image)
    assert call(service.assign("p")["port"], "GET", "/").status == 200
    assert "Pulling from team/worker" in service.log
    assert PASSWORD not in service.log


def test_a_pull_that_fails_says_why_at_once_and_the_service_goes_on_until_it_works(
    start: Start, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = image.partition("/")[0]
    log_in(tmp_path, registry, "wrong")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    service = start("--image", image)
    refused = eventually(lambda: _refusal(service), "a refusal that names the pull")
    assert refused is not None
    assert refused.took_s < 5
    assert image in refused.json["message"]
    assert "Retry-After".lower() in refused.headers
    assert service.get("/health").status == 200
    log_in(tmp_path, registry, PASSWORD)
    service.await_idle(2)
    assert service.assign("p")["ip"] == "localhost"


def _refusal(service: Running) -> Answer | None:
    answer = service.get("/p")
    return answer if answer.status == 503 and "cannot be pulled" in answer.text else None
