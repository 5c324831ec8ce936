"""What is told of a folder that changed from one look to the next: by the real tools, on real files."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from worker_orchestrator.http.e2b import looking
from worker_orchestrator.http.e2b.changes import FORMAT, changes, seen_in

SHELLS: Final = [["sh"], *([["busybox", "sh"]] if shutil.which("busybox") else [])]
OLD: Final = 1_000_000_000


def look(folder: Path, shell: list[str], *, depth: int = 64) -> str:
    """What the script says at one look."""
    script = looking._LOOK
    if shell[0] == "busybox":
        script = script.replace("find ", "busybox find ").replace("stat -c", "busybox stat -c")
    words = [*shell, "-c", script, "sh", str(folder), FORMAT, str(depth), "mark", "links"]
    told = subprocess.run(words, input="\n", capture_output=True, text=True, check=True).stdout
    assert told.endswith("\0mark\0")
    return told.removesuffix("\0mark\0")


def told_of(folder: Path, change: Callable[[], object], shell: list[str]) -> list[tuple[str, str]]:
    before = seen_in(look(folder, shell).partition("\0")[0])
    change()
    after = seen_in(look(folder, shell).partition("\0")[0])
    return [(each.kind.removeprefix("EVENT_TYPE_"), each.name) for each in changes(before, after)]


def a_tree(folder: Path) -> Path:
    (folder / "sub").mkdir()
    for name in ("a", "b", "sub/in", "new\nline 1|2|3|81a4 0 0 u g .x"):
        (folder / name).write_text("1")
        os.utime(folder / name, (OLD, OLD))
    (folder / "link").symlink_to("a")
    return folder


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_each_change_has_its_word(tmp_path: Path, shell: list[str]) -> None:
    folder = a_tree(tmp_path)

    def told(change: Callable[[], object]) -> list[tuple[str, str]]:
        return told_of(folder, change, shell)

    assert told(lambda: None) == []
    assert told((folder / "empty").touch) == [("CREATE", "empty")]
    assert told(lambda: (folder / "full").write_text("x")) == [("CREATE", "full"), ("WRITE", "full")]
    assert told(lambda: (folder / "a").write_text("22")) == [("WRITE", "a")]
    assert told(lambda: (folder / "sub" / "in").write_text("2")) == [("WRITE", "sub/in")], "as long as before"
    assert told(lambda: (folder / "a").chmod(0o604)) == [("CHMOD", "a")]
    assert told(lambda: (folder / "sub").chmod(0o711)) == [("CHMOD", "sub")]
    assert told(lambda: (folder / "b").rename(folder / "c")) == [("RENAME", "b"), ("CREATE", "c")]
    assert told(lambda: (folder / "c").rename(folder / "a")) == [("RENAME", "c"), ("CREATE", "a")], "in its place"
    assert told((folder / "a").unlink) == [("REMOVE", "a")]
    assert told(lambda: (folder / "sub").rename(folder / "other")) == [("RENAME", "sub"), ("CREATE", "other")]
    assert told(lambda: shutil.rmtree(folder / "other")) == [("REMOVE", "other/in"), ("REMOVE", "other")]
    assert told((folder / "link").unlink) == [("REMOVE", "link")]
    assert told((folder / "new\nline 1|2|3|81a4 0 0 u g .x").unlink) == [("REMOVE", "new\nline 1|2|3|81a4 0 0 u g .x")]


def test_a_new_file_in_the_place_of_another_was_written(tmp_path: Path) -> None:
    """As a copy into the container does it, and many an editor."""
    (tmp_path / "a").write_text("1")

    def replace() -> None:
        (tmp_path / "a").rename(tmp_path.parent / "kept")
        (tmp_path / "a").write_text("2")

    assert told_of(tmp_path, replace, ["sh"]) == [("WRITE", "a")]

    def become_a_folder() -> None:
        (tmp_path / "a").unlink()
        (tmp_path / "a").mkdir()

    assert told_of(tmp_path, become_a_folder, ["sh"]) == [("REMOVE", "a"), ("CREATE", "a")]


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_a_folder_that_is_gone_may_come_again(tmp_path: Path, shell: list[str]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "in").touch()
    words = [*shell, "-c", looking._LOOK, "sh", str(folder), FORMAT, "1", "mark", ""]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def seen() -> set[str]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            told = ""
            while not told.endswith("\0mark\0"):
                told += process.stdout.read(1)
            return set(seen_in(told.partition("\0")[0]))

        assert seen() == {".", "in"}
        shutil.rmtree(folder)
        assert seen() == set()
        folder.mkdir()
        assert seen() == {"."}
        process.stdin.close()
        assert process.wait(5) == 0, "it ends with its input"


def test_what_a_look_says_of_links(tmp_path: Path) -> None:
    a_tree(tmp_path)
    assert look(tmp_path, ["sh"]).partition("\0")[2] == "./link\0a\0"
    assert set(seen_in(look(tmp_path, ["sh"], depth=1).partition("\0")[0])) >= {".", "a", "b", "sub", "link"}
    assert "sub/in" not in seen_in(look(tmp_path, ["sh"], depth=1))
