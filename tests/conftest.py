"""What the tests against real Docker share: a Docker engine and the example worker's image, or one clear sentence."""

from __future__ import annotations

import pytest
from hypothesis import settings
from tests.integration.docker_command import EXAMPLE, docker

settings.register_profile("patient", settings(), deadline=None)  # how long an example takes says more of the computer
settings.load_profile("patient")


@pytest.fixture(scope="session")
def example_image() -> str:
    """The example worker's image. Without Docker or without the image the test fails: it is never skipped."""
    if docker("version", check=False).failed:
        pytest.fail("No Docker engine answers: these tests need one (`make integration` starts it).", pytrace=False)
    if docker("image", "inspect", EXAMPLE, check=False).failed:
        pytest.fail(f"The image {EXAMPLE} is missing: `make example-worker` builds it.", pytrace=False)
    return EXAMPLE
