"""README, docs/getting-started.md and the recipes, as their readers follow them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest
from tests.integration.docker_command import EXAMPLE, a_name, docker, docker_json, make_image
from tests.integration.waiting import eventually
from tests.recipes.at_hand import a_port, needs
from tests.recipes.page import ROOT, Reader, a_reader

RECIPES: Final = ROOT / "docs" / "recipes"
PLAIN: Final = ("env", "files")
"""Recipes that need nothing but the service."""
PACKAGES: Final = sysconfig.get_path("purelib")


@pytest.fixture
def reader(tmp_path: Path, example_image: str) -> Iterator[Reader]:
    with a_reader(tmp_path) as reader:
        yield reader


@pytest.fixture
def other_image(example_image: str) -> Iterator[str]:
    tag = f"{a_name('other')}:latest"
    make_image(tag, "LABEL other=yes")
    yield tag
    docker("rmi", "-f", tag)


def test_the_readme_does_what_it_says(reader: Reader) -> None:
    """Its last command is the line for code of strangers: workers do come up under it."""
    reader.run(f"cd {ROOT}")
    reader.follow(ROOT / "README.md")
    reader.run('curl --fail "$(orchestrator assign strangers)"')
    reader.run('make down ARGS="--all --yes"')


def test_getting_started_does_what_it_says(tmp_path: Path, example_image: str, packages: str) -> None:
    with a_reader(tmp_path, PYTHONPATH=packages) as reader:
        reader.replacing = {"-m venv venv && . venv": f"-m venv {tmp_path}/venv && . {tmp_path}/venv"}
        reader.run(f"cd {ROOT}")
        reader.follow(ROOT / "docs" / "getting-started.md")


def test_each_recipe_has_a_project_of_its_own() -> None:
    """All of them may use one state folder: who follows a second one must not get the worker of the first."""
    for page in RECIPES.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert "my-project" not in text, page
        assert set(re.findall(r"\b[\w-]+-demo\b", text)) == {f"{page.stem}-demo"}, page


def test_every_recipe_is_followed_by_a_test_here() -> None:
    told = "".join(file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("test_*.py"))
    followed = {*re.findall(r'follow\(RECIPES / "([\w-]+)\.md"\)', told), *PLAIN}
    assert {page.stem for page in RECIPES.glob("*.md")} == followed


@pytest.mark.parametrize("page", PLAIN)
def test_a_recipe_does_what_it_says(reader: Reader, page: str) -> None:
    reader.follow(RECIPES / f"{page}.md")


def test_two_images(reader: Reader, other_image: str) -> None:
    """Each pool gives machines of its own image."""
    reader.replacing = {"my/web:latest": EXAMPLE, "my/python:latest": other_image, "9094": str(reader.ports.first + 1)}
    reader.follow(RECIPES / "two-images.md")
    for project, image in (("two-images-demo", EXAMPLE), ("two-images-demo-py", other_image)):
        machine = reader.run(f"orchestrator assign {project} -o name")
        assert docker_json("inspect", machine)["Image"] == docker_json("image", "inspect", image)["Id"]


def test_an_app_builder_that_waits_for_its_project(reader: Reader) -> None:
    built = f"{a_name('builder')}:latest"
    reader.replacing = {"my/builder:latest": built}
    try:
        reader.follow(RECIPES / "configure.md")
    finally:
        reader.close()
        docker("rmi", "-f", built, check=False)


def test_express_in_front(reader: Reader) -> None:
    port = a_port()
    reader.replacing = {"3000": port}
    reader.follow(RECIPES / "express.md")
    url = f"http://express-demo.localhost:{port}"
    ask = "curl -s -u express-demo:a-password"
    release = f"{ask} -X POST http://localhost:{port}/release/express-demo"
    assert reader.run(release) == '{"error":"This project has no worker."}'
    assert "not those of this project" in reader.run(release.replace("a-password", "no-password"))
    assert "<h1>/files/ on " in reader.run(f"{ask} -L {url}/files"), "a redirect stays within the project"
    for _ in range(5):  # its worker sends a body, which no reply to HEAD has
        assert reader.run(f"{ask} -I -o head -w '%{{http_code}}' {url}/files/") == "200", (
            "a body that no HEAD has is left out"
        )
    assert reader.run(f"{ask} -I {url}/files/ -H 'Host: x.example.com:{port}' -o head -w '%{{http_code}}'") == "404"
    docker("pause", reader.run("orchestrator assign express-demo -o name"))
    plain = '{"error":"This project is not available at the moment. Please try again later."}'
    eventually(lambda: reader.run(f"{ask} --max-time 5 {url}/health || true") == plain, "it is refused")
    assert "docker unpause" in reader.logs(), "the log has what to do"


def test_nginx_with_tls_in_front(reader: Reader) -> None:
    """Terminals, which are WebSockets, go through it too, and no port but those of workers is shown."""
    needs("nginx", "nginx-light")
    first, last, tls = reader.ports.first, reader.ports.last, a_port()
    reader.replacing = {
        "8443": tls,
        "9199": str(last),
        r"909[3-9]|91\d\d": "|".join(map(str, range(first, last + 1))),
    }
    reader.follow(RECIPES / "nginx.md")
    assert "forty-two" in reader.run('script -qec "orchestrator exec -t nginx-demo -- echo forty-two" /dev/null')
    reader.run("head -c 3000000 /dev/urandom >large && orchestrator cp large nginx-demo:/tmp/large")
    reader.run("orchestrator cp nginx-demo:/tmp/large back && cmp large back")
    other = f"curl --silent --cacert cert.pem https://{reader.ports.api}.workers.localhost:{tls}/livez"
    assert "404" in reader.run(other)


def test_previews_behind_nginx(reader: Reader) -> None:
    """After a release its link shows nothing."""
    needs("nginx", "nginx-light")
    tls = a_port()
    reader.replacing = {"8443": tls}
    reader.follow(RECIPES / "previews.md")
    ask = "curl --silent --output /dev/null --write-out '%{http_code}' --cookie jar --cacert cert.pem"
    url = f"https://previews-demo.preview.localhost:{tls}"
    assert reader.run(f"{ask} {url}/health") == "200"
    reader.run("orchestrator release previews-demo")
    assert reader.run(f"{ask} {url}/health") == "403"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This version as `make wheel` makes it."""
    folder = tmp_path_factory.mktemp("wheel")
    words = ["wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, timeout=120)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> str:
    """For PYTHONPATH: what the program needs is here already, so pip fetches none of it; the program itself is not."""
    folder = tmp_path_factory.mktemp("packages")
    for found in Path(PACKAGES).iterdir():
        if not found.name.startswith("worker_orchestrator"):
            (folder / found.name).symlink_to(found)
    return str(folder)


def newer(wheel: Path, folder: Path) -> None:
    """The same wheel with a higher version."""
    old, new = wheel.name.split("-")[1], "99.0"
    folder.mkdir()
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(folder / wheel.name.replace(old, new), "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith((".dist-info/METADATA", ".dist-info/RECORD")):
                content = content.replace(f"Version: {old}".encode(), f"Version: {new}".encode())
                content = content.replace(f"-{old}.dist-info".encode(), f"-{new}.dist-info".encode())
                content = re.sub(rb"(METADATA,)sha256=[^,]*,\d*", rb"\1,", content)
            target.writestr(name.replace(f"-{old}.dist-info", f"-{new}.dist-info"), content)


def test_an_upgrade_keeps_workers_and_their_files(
    tmp_path: Path, example_image: str, wheel: Path, packages: str
) -> None:
    """From the wheel of this version to one that calls itself newer."""
    newer(wheel, tmp_path / "new")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "venv"], cwd=tmp_path, check=True)
    with a_reader(tmp_path, PYTHONPATH=packages) as reader:
        reader.run(f"venv/bin/python -m pip install --quiet {wheel}")
        old = reader.run("venv/bin/orchestrator --version")
        reader.follow(RECIPES / "upgrade.md")
        assert version("worker-orchestrator") in old
        assert "99.0" in reader.run("orchestrator --version")


def test_a_systemd_service_with_its_own_user(tmp_path: Path, example_image: str, wheel: Path) -> None:
    """In namespaces of its own: this computer gets no user, no unit and no program."""
    needs("systemd-analyze", "systemd")
    shutil.copy(wheel, tmp_path)
    bin_, state, layers = tmp_path / "bin", tmp_path / "state", tmp_path / "layers"
    for folder in (bin_, state, layers):
        folder.mkdir()
    shutil.copy(Path(__file__).with_name("systemctl"), bin_)
    script = f"""
        set -e
        mount -t tmpfs tmpfs {layers}
        for place in etc opt var/lib; do
          mkdir -p {layers}/$place/upper {layers}/$place/work
          mount -t overlay -o lowerdir=/$place,upperdir={layers}/$place/upper,workdir={layers}/$place/work overlay /$place
        done
        mkdir /opt/packages /var/lib/worker-orchestrator
        mount --bind {PACKAGES} /opt/packages
        mount --bind {state} /var/lib/worker-orchestrator
        exec bash --norc"""
    alone = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c", script)
    path = f"{bin_}{os.pathsep}{os.defpath}:/usr/sbin:/sbin"
    with a_reader(tmp_path, shell=alone, PYTHONPATH="/opt/packages", PATH=path) as reader:
        start = "ExecStart=/opt/worker-orchestrator/bin/orchestrator serve"
        ports = f"--port {reader.ports.api} --first-port {reader.ports.first} --last-port {reader.ports.last}"
        reader.replacing = {start: f"{start} {ports} --min-idle 1"}
        reader.follow(RECIPES / "systemd.md")
        assert reader.run("stat -c '%U %a' /var/lib/worker-orchestrator/orchestrator.db") == "orchestrator 600"
