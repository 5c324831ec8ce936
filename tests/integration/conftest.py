"""Services for the tests of this folder: one per test, or one shared by a file."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.integration.running import Running, a_service, at_hand

Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path, example_image: str) -> Iterator[Start]:
    """Starts services that end with the test and leave nothing behind: `start("--min-idle", "0")`."""
    with ExitStack() as services:
        count = 0

        def start_one(*flags: str, start: bool = True, docker_host: str = "") -> Running:
            nonlocal count
            count += 1
            service = a_service(tmp_path / f"service-{count}", *flags, start=start, docker_host=docker_host)
            return services.enter_context(service)

        yield start_one


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    """One service for all tests of a file that leave the pool as they found it: two idle machines, five at most."""
    with a_service(tmp_path_factory.mktemp("shared"), "--max-machines", "6", "--assign-timeout", "20") as service:
        service.await_idle(2)
        yield service


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows the logs of the services that were at hand."""
    report = yield
    if report.failed:
        report.sections += [(f"log of the service in {service.folder}", service.log[-6000:]) for service in at_hand]
    return report
