"""Where a path leads: on any tree, the kernel of this computer is asked the same."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_orchestrator.engines.docker.paths import Mounts
from worker_orchestrator.engines.docker.walk import Kind, Walk, Way
from worker_orchestrator.errors import InvalidInput, OrchestratorError, PathNotFound

MACHINE: Final = "worker-1700000000000-abcdefghi"
NAMES: Final = ("a", "b", "ä", "\udcff")


def in_tree(root: Path, mounts: Mounts | None = None) -> Walk:
    """A walk in a folder of this computer. What leads to `/` there leads to the folder, as in a container."""

    async def kind_of(path: str) -> Kind:
        try:
            mode = os.lstat(f"{root}{path}").st_mode
        except FileNotFoundError:
            return Kind.MISSING
        return Kind.LINK if stat.S_ISLNK(mode) else Kind.FOLDER if stat.S_ISDIR(mode) else Kind.OTHER

    async def target_of(path: str) -> str:
        return os.readlink(f"{root}{path}").removeprefix(str(root))  # noqa: PTH115 # a Path would change it

    return Walk(MACHINE, mounts or Mounts.of_the_kernel(), kind_of, target_of)


def went(root: Path, path: str, *, follow: bool = True, mounts: Mounts | None = None) -> Way | OrchestratorError:
    async def go() -> Way:
        walk = in_tree(root, mounts)
        await walk.place_mounts()
        return await walk.to(path, follow=follow)

    try:
        return asyncio.run(go())
    except OrchestratorError as error:
        return error


def of_the_kernel(root: Path, path: str, *, follow: bool) -> os.stat_result | type[OrchestratorError]:
    try:
        return os.stat(f"{root}{path}", follow_symlinks=follow)  # noqa: PTH116 # a Path would change it
    except OSError as error:
        return InvalidInput if error.errno == errno.ELOOP else PathNotFound


steps = st.lists(st.sampled_from([*NAMES, *NAMES, "..", ".", ""]), min_size=1, max_size=6).map("/".join)
places = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
trees = st.lists(st.tuples(places, st.sampled_from(["folder", "file", "link", "absolute"]), steps), max_size=12)


@given(tree=trees, paths=st.lists(steps, min_size=1, max_size=5), follow=st.booleans())
def test_a_path_leads_where_the_kernel_says(
    tree: list[tuple[str, str, str]], paths: list[str], *, follow: bool
) -> None:
    """Links in the middle and at the end, relative and absolute, `..` behind them, circles, and names that are no text."""
    with tempfile.TemporaryDirectory() as folder:
        # Deep enough that no `..` leads out of it: there, a container's root would be its own parent.
        root = Path(folder, *"12345678901234567890").resolve()
        root.mkdir(parents=True)
        base = "/r/o/o/t/o/f/i/t"
        Path(f"{root}{base}").mkdir(parents=True)
        for place, kind, target in tree:
            path = Path(f"{root}{base}/{place}")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                if kind == "folder":
                    path.mkdir()
                elif kind == "file":
                    path.touch()
                elif target.strip("/"):
                    path.symlink_to(f"{root}{base}/{target}" if kind == "absolute" else target.lstrip("/"))
            except OSError:
                pass  # a file is in its way, or a link that leads nowhere
        for step in paths:
            asked = f"{base}/{step}"
            found, expected = went(root, asked, follow=follow), of_the_kernel(root, asked, follow=follow)
            if isinstance(found, Way):
                assert isinstance(expected, os.stat_result), (asked, found, expected)
                assert os.path.samestat(os.lstat(f"{root}{found.path}"), expected)
                folder_of_it = Path(f"{root}{found.path}").parent
                assert folder_of_it.resolve() == folder_of_it
            else:
                assert expected is type(found), (asked, found, expected)


def test_nothing_leads_out_of_the_container(tmp_path: Path) -> None:
    """Above its root there is its root."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "up").symlink_to("../../../../../etc/passwd")
    (tmp_path / "etc" / "passwd").write_text("its own")
    assert went(tmp_path, "/etc/up") == went(tmp_path, "/../../etc/passwd") == Way("/etc/passwd")
    assert went(tmp_path, "/..") == Way("/")


def test_as_many_links_are_followed_as_the_kernel_follows(tmp_path: Path) -> None:
    """Forty, and not one more; a circle is told by its name."""
    (tmp_path / "0").write_text("end")
    for number in range(1, 42):
        (tmp_path / str(number)).symlink_to(str(number - 1))
    assert (tmp_path / "40").read_text() == "end"
    assert went(tmp_path, "/40") == Way("/0")
    with pytest.raises(OSError, match="Too many levels"):
        (tmp_path / "41").read_text()
    refused = went(tmp_path, "/41")
    assert isinstance(refused, InvalidInput)
    assert refused.message.startswith("/41 leads from link to link in the container of ")


def test_a_link_into_what_docker_does_not_see_is_known(tmp_path: Path) -> None:
    """However it leads there, and also where the mount has the name of a link."""
    for folder in ("tmp/volume", "tmp/deep/volume", "var", "real"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "var" / "tmp").symlink_to("/tmp")
    (tmp_path / "alias").symlink_to("real")
    (tmp_path / "info").symlink_to("proc/self/status")
    mounts = Mounts(Mounts.of_the_kernel().hidden | {"/tmp", "/alias"}, frozenset({"/tmp/volume", "/tmp/deep/volume"}))
    for path, hidden_by in {
        "/var/tmp/note": "/tmp",
        "/var/tmp": "/tmp",
        "/var/tmp/folder/../../../var": "/tmp",
        "/real/note": "/real",
        "/alias/note": "/real",
        "/tmp/deep": "/tmp",
        "/info": "/proc",
        "/dev/../proc/1": "/proc",
    }.items():
        found = went(tmp_path, path, mounts=mounts)
        assert isinstance(found, Way), path
        assert found.hidden_by == hidden_by, path
    for path, seen in {
        "/var/tmp/volume": "/tmp/volume",
        "/var/tmp/deep/volume": "/tmp/deep/volume",
        "/tmp/../var": "/var",
        "/tmp/volume/../../var": "/var",
    }.items():
        assert went(tmp_path, path, mounts=mounts) == Way(seen), path


def test_no_path_asks_without_an_end(tmp_path: Path) -> None:
    """Docker is asked for each name of it."""
    folders = [f"/{name}" * 300 for name in "abcd"]
    for folder in folders:
        Path(f"{tmp_path}{folder}").mkdir(parents=True)
    for folder, behind in pairwise(folders):
        Path(f"{tmp_path}{folder}/on").symlink_to(behind)
    assert went(tmp_path, f"{folders[0]}/on/on") == Way(folders[2])
    refused = went(tmp_path, f"{folders[0]}/on/on/on")
    assert isinstance(refused, InvalidInput)
    assert "leads through more than 1000 names: use a shorter way" in refused.message


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/new", "/new"),
        ("/to-new", "/d/new"),
        ("/to-to-new", "/d/new"),
        ("/to-file", "/d/file"),
        ("/none/new", PathNotFound),
        ("/to-none", PathNotFound),
        ("/d/file/new", InvalidInput),
    ],
)
def test_a_file_that_is_not_there_yet_has_its_place_where_the_kernel_would_make_it(
    tmp_path: Path, path: str, place: str | type[OrchestratorError]
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "file").touch()
    for name, target in (("new", "d/new"), ("to-new", "to-new"), ("file", "d/file"), ("none", "none/new")):
        (tmp_path / f"to-{name}").symlink_to(target)

    async def go() -> Way:
        return await in_tree(tmp_path).to(path, follow=True, may_be_new=True)

    if isinstance(place, str):
        assert asyncio.run(go()).path == place
        (tmp_path / path[1:]).write_text("new")
        assert (tmp_path / place[1:]).read_text() == "new"
    else:
        with pytest.raises(place):
            asyncio.run(go())
