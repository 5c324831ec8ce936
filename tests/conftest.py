"""What the tests against real Docker share: a Docker engine and the example worker's image, or one clear sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings
from tests.integration.docker_command import EXAMPLE, docker
from tests.promises import leave_out as pytest_collection_modifyitems
from tests.promises import note as pytest_runtest_makereport
from tests.promises import write_column

__all__ = [
    "example_image",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_runtest_makereport",
    "pytest_sessionfinish",
]

settings.register_profile("patient", settings(), deadline=None)  # how long an example takes says more of the computer
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "promise(name, ...): what every engine is promised to keep, by tests/promises.py"
    )
    config.addinivalue_line("markers", "cluster: needs a Kubernetes cluster, the one that KUBECONFIG names")


def pytest_sessionfinish() -> None:
    if folder := os.environ.get("ENGINE_COLUMN"):
        write_column(Path(folder))


@pytest.fixture(scope="session")
def example_image() -> str:
    """The example worker's image. Without Docker or without the image the test fails: it is never skipped."""
    if docker("version", check=False).failed:
        pytest.fail("No Docker engine answers: these tests need one (`make integration` starts it).", pytrace=False)
    if docker("image", "inspect", EXAMPLE, check=False).failed:
        pytest.fail(f"The image {EXAMPLE} is missing: `make example-worker` builds it.", pytrace=False)
    return EXAMPLE
