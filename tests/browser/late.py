"""A service that has a pool whose workers take values, and what is typed into the dashboard for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import FilePayload, Locator, Page, expect
from tests.integration.calling import call
from tests.integration.docker_command import EXAMPLE, a_name, docker, remove_image
from tests.integration.running import Running, a_service

__all__ = [
    "FAILS",
    "SECRET",
    "a_file",
    "add",
    "asked",
    "configure",
    "inside",
    "press",
    "release_all",
    "taking_values",
    "told",
]

SECRET: Final = "s3cret-that-nobody-sees"  # of no account
FAILS: Final = r"status of (409|424)"
"""What a browser says of a set-up that failed or was refused."""
_HOOK: Final = """#!/bin/sh
. /run/project/env
echo "setting up in $REGION"
[ "$REGION" != nowhere ] || { echo "no such region, with the key $(cat /run/project/secrets/API_KEY)"; exit 3; }
echo done >>/tmp/runs
"""


@contextmanager
def taking_values(folder: Path) -> Iterator[Running]:
    """The pool `default` takes values and has a hook, `plain` takes none. Three machines are idle."""
    tag = f"{a_name('hook')}:latest"
    _with_hook(tag, folder)
    file = folder / "orchestrator.toml"
    file.write_text(
        """
        max_machines = 8
        [pools.default]
        min_idle = 2
        max_idle = 2
        late = { dir = "/run/project", hook = ["sh", "/app/hook"] }
        [pools.plain]
        min_idle = 1
        max_idle = 1
        """,
        encoding="utf-8",
    )
    try:
        with a_service(folder, "--image", tag, "--config", str(file)) as service:
            service.await_idle(3)
            yield service
    finally:
        remove_image(tag)


def _with_hook(tag: str, folder: Path) -> None:
    """The example image with the hook in it."""
    source, app = a_name("source"), folder / "app"
    app.mkdir()
    (app / "hook").write_text(_HOOK, encoding="utf-8")
    docker("create", "--name", source, EXAMPLE)
    try:
        docker("cp", str(app), f"{source}:/")
        docker("commit", source, tag)
    finally:
        docker("rm", "-f", source)


def release_all(service: Running) -> None:
    """As it was: three idle machines, and nothing assigned."""
    for machine in service.machines():
        if machine["isUsed"]:
            service.release(machine["id"])
    service.await_idle(3)


def asked(page: Page, project: str = "shop") -> Locator:
    """The dialog of an assign for this project, with its fields."""
    page.get_by_role("button", name="Assign…").click()
    shown = page.get_by_role("dialog", name="Assign a machine")
    shown.get_by_label("Project").fill(project)
    expect(shown.get_by_role("group", name="Secrets")).to_be_visible()
    return shown


def add(where: Locator, what: str, name: str, value: str) -> None:
    """One more row."""
    where.get_by_role("button", name=f"Add a {what}").click()
    page = where.page
    page.keyboard.type(name)  # its name has the focus
    page.keyboard.press("Tab")
    page.keyboard.type(value)


def press(where: Locator | Page, name: str) -> None:
    where.get_by_role("button", name=name, exact=True).click()


def inside(service: Running, path: str, project: str = "shop") -> str:
    machine = service.machine_of(project)
    assert machine is not None
    return docker("exec", machine["id"], "cat", path).out


def told(service: Running, project: str = "shop") -> Any:
    return service.get(f"/v1/projects/{project}/machine").json


def a_file(name: str, content: str | bytes) -> FilePayload:
    return {
        "name": name,
        "mimeType": "text/plain",
        "buffer": content if isinstance(content, bytes) else content.encode(),
    }


def configure(service: Running, values: dict[str, Any], project: str = "shop") -> int:
    return call(service.ports.api, "PUT", f"/v1/projects/{project}/machine", values, timeout_s=60).status
