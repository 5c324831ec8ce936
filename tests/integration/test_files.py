"""Files of a worker over the API, byte by byte: each kind of name, link and size, as three programs pack them."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

import pytest
from tests.integration.docker_command import docker, is_podman
from tests.integration.running import Running, orchestrator

GIB: Final = 1024**3
TAR: Final = "application/x-tar"
NAMES: Final = (
    b"plain",
    b"with blanks  and 'quotes\"",
    b"line\nbreak\ttab",
    b"back\\slash",
    b"-rf",
    b"percent%41+and&hash#semi;colon?",
    b"[ab]? {x,y}",
    b"...",
    b" ",
    "größe-日本-🎉".encode(),
    "e\u0301 and \u00e9".encode(),
    b"latin-1 \xe4\xf6\xfc",
    b"no text \xff\xfe\x80\x01",
    b"n" * 100,
    b"n" * 101,
    "ü".encode() * 120,
    b"\xff" * 255,
)
SIZES: Final = (0, 1, 511, 512, 513, 65_536, 3_000_001)


class Reply(NamedTuple):
    status: int
    body: bytes


@contextmanager
def asking(
    service: Running, method: str, machine: str, path: bytes, *, body: bytes | None = None, kind: str = ""
) -> Iterator[http.client.HTTPResponse]:
    headers = {
        "Host": "localhost",
        "Content-Type" if body is not None else "Accept": kind or "application/octet-stream",
    }
    with closing(http.client.HTTPConnection("127.0.0.1", service.ports.api, timeout=60)) as connection:
        connection.request(method, f"/v1/machines/{machine}/files?path={quote(path, safe='/')}", body, headers)
        yield connection.getresponse()


def ask(
    service: Running, method: str, machine: str, path: bytes, *, body: bytes | None = None, kind: str = ""
) -> Reply:
    with asking(service, method, machine, path, body=body, kind=kind) as response:
        return Reply(response.status, response.read())


def make_tree(root: Path) -> None:
    """What can be in a folder, of which nothing leads out of it."""
    top = os.fsencode(root)
    for number, name in enumerate(NAMES):
        Path(os.fsdecode(top + b"/" + name)).write_bytes(os.urandom(100 + number))
        Path(os.fsdecode(top + b"/to " + name[:200])).symlink_to(os.fsdecode(name))
    for size in SIZES:
        (root / f"{size} bytes").write_bytes(os.urandom(size))
    with (root / "sparse").open("wb") as file:
        for number in range(30):
            file.seek(number * 100_000)
            file.write(os.urandom(5000))
        file.truncate(4_000_000)
    deep = root.joinpath(*[f"{number}{'d' * 60}" for number in range(6)])
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"deep")
    (root / "to deep").symlink_to(deep.relative_to(root))
    (root / "to deep file").symlink_to(deep.relative_to(root) / "file")
    (root / "a" / "b").mkdir(parents=True)
    (root / "x").write_bytes(b"the wrong one")
    (root / "a" / "x").write_bytes(b"the right one")
    (root / "over").symlink_to("a/b")
    (root / "through").symlink_to("over/../x")
    (root / "twice").symlink_to("./over/.././/b/../x")
    (root / "hard").hardlink_to(root / "3000001 bytes")
    (root / "a" / "hard").hardlink_to(root / "sparse")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")


def packed_by_gnu_tar(*how: str) -> Callable[[Path, str], bytes]:
    def pack(root: Path, _machine: str) -> bytes:
        return subprocess.run(["tar", "-c", *how, "-C", root, "."], capture_output=True, check=True).stdout

    return pack


def packed_by_python(root: Path, _machine: str) -> bytes:
    held = io.BytesIO()
    with tarfile.open(
        fileobj=held, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        archive.add(root, ".")
    return held.getvalue()


def packed_by_busybox(root: Path, machine: str) -> bytes:
    """In the worker itself."""
    subprocess.run(["docker", "cp", f"{root}/.", f"{machine}:/srv/files/source"], check=True, capture_output=True)
    packing = ["docker", "exec", machine, "tar", "-c", "-f", "-", "-C", "/srv/files/source", "."]
    packed = subprocess.run(packing, check=True, capture_output=True).stdout
    docker("exec", machine, "rm", "-rf", "/srv/files/source")
    return packed


PACKERS: Final = {
    "gnu": packed_by_gnu_tar("--format=gnu"),
    "gnu-pax": packed_by_gnu_tar("--format=posix", "--sparse"),
    "busybox": packed_by_busybox,
    "python": packed_by_python,
}


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "tree"
    root.mkdir()
    make_tree(root)
    yield root
    shutil.rmtree(root)


def listed(archive: bytes) -> dict[str, tuple[bytes, str, int, str]]:
    """Type, link, size and content of each entry, by name."""
    with tarfile.open(fileobj=io.BytesIO(archive), encoding="utf-8", errors="surrogateescape") as opened:
        found = {}
        for entry in opened:
            file = opened.extractfile(entry) if entry.isreg() else None
            content = hashlib.sha256(file.read()).hexdigest() if file is not None else ""
            found[entry.name] = (entry.type, entry.linkname, entry.size, content)
        return found


def is_lost_by_docker(reply: Reply, path: Path) -> bool:
    """Some engines cannot pack what has a name that is no UTF-8: that is said, and nobody gets something else.

    Podman does not tell where a link leads that has a character of a pattern in its name.
    """
    if is_podman() and path.is_symlink() and set(path.name) & set("\\?["):
        return reply.status == 400 and b'"path_out_of_reach"' in reply.body
    try:
        f"{path.name}/{path.resolve().name}".encode()
    except UnicodeEncodeError:
        return reply.status == 400 and b'"path_out_of_reach"' in reply.body
    return False


@pytest.mark.parametrize("packer", PACKERS)
def test_what_was_packed_is_read_byte_by_byte(shared: Running, tree: Path, packer: str) -> None:
    """By its own name and over each link, as `docker cp` has it; what is no file is said to be none."""
    machine = shared.assign("packed")["containerId"]
    docker("exec", machine, "sh", "-c", "rm -rf /srv/files/t; mkdir /srv/files/t")
    archive = PACKERS[packer](tree, machine)
    assert ask(shared, "PUT", machine, b"/srv/files/t", body=archive, kind=TAR).status == 204
    copied = subprocess.run(["docker", "cp", f"{machine}:/srv/files/t", "-"], capture_output=True, check=True).stdout
    whole = ask(shared, "GET", machine, b"/srv/files/t", kind=TAR)
    assert whole.status == 200
    assert listed(whole.body) == listed(copied)
    assert len(listed(copied)) == sum(1 for _ in tree.rglob("*")) + 1
    found = list(tree.rglob("*"))
    paths = [b"/srv/files/t/" + os.fsencode(path.relative_to(tree)) for path in found]
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda path: ask(shared, "GET", machine, path), paths))
    for path, reply in zip(found, replies, strict=True):
        if path.name in {"through", "twice"} and is_podman():
            continue  # it takes `over/..` for the folder that the link `over` is in
        if path.is_file():
            assert reply == (200, path.read_bytes()) or is_lost_by_docker(reply, path), path
        else:
            assert reply.status == (404 if path.name == "dangling" else 400), (path, reply.body)


def test_an_archive_that_docker_does_not_know_is_its_senders_fault(shared: Running, tree: Path) -> None:
    """GNU's old way to pack sparse files."""
    machine = shared.assign("old")["containerId"]
    archive = packed_by_gnu_tar("--format=gnu", "--sparse")(tree, machine)
    reply = ask(shared, "PUT", machine, b"/srv/files", body=archive, kind=TAR)
    assert reply.status == 400
    assert b"The archive cannot be unpacked into /srv/files" in reply.body


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_what_is_written_under_any_name_is_read_under_it(shared: Running, name: bytes) -> None:
    """And it is what the worker has there."""
    machine = shared.assign("written")["containerId"]
    path, content = b"/srv/files/" + name, os.urandom(5000)
    assert ask(shared, "PUT", machine, path, body=content).status == 204
    reply = ask(shared, "GET", machine, path)
    assert reply == (200, content) or is_lost_by_docker(reply, Path(os.fsdecode(path)))
    assert content in ask(shared, "GET", machine, b"/srv/files", kind=TAR).body
    octal = "".join(f"\\{byte:03o}" for byte in path)
    printed = ["docker", "exec", machine, "sh", "-c", f"cat \"$(printf '{octal}')\""]
    seen = subprocess.run(printed, capture_output=True, check=True).stdout
    assert seen == content
    missing = ask(shared, "GET", machine, b"/srv/files/none?\xff")
    assert missing.status == 404
    assert rb"none?\\xff" in missing.body


@pytest.mark.parametrize(
    ("links", "path", "said"),
    [
        ("echo right >d/x; echo wrong >x; ln -s d/sub dl", "dl/../x", b"right\n"),
        ("echo right >d/x; ln -s /srv/files/l/d/sub abs; ln -s abs abs2", "abs2/../x", b"right\n"),
        ("echo right >d/ü; echo wrong >d/u; ln -s d/ü l", "l", b"right\n"),
        ("N=$(printf 'd/\\344'); mkdir $N; echo right >$N/x; ln -s $N l", "l/x", b"right\n"),
        ("ln -s ../../../../../etc/passwd up", "up", b"of the worker\n"),
        (f"echo right >x; mkdir {'d' * 240}; ln -s {('d' * 240 + '/../') * 12}x long", "long", b"right\n"),
        ("ln -s /tmp/l/x f; mkdir -p /tmp/l; ln -s /srv/files/l/d /tmp/l/x; echo right >d/x", "f/x", b"right\n"),
    ],
    ids=["..", "absolute", "not ascii", "no text", "above the root", "long", "elsewhere"],
)
def test_a_link_leads_where_the_worker_finds_it(shared: Running, links: str, path: str, said: bytes) -> None:
    """As its own `cat` does."""
    machine = shared.assign("links")["containerId"]
    prepare = "rm -rf /srv/files/l /tmp/l; mkdir -p /etc /srv/files/l/d/sub; echo of the worker >/etc/passwd"
    docker("exec", machine, "sh", "-c", f"{prepare}; cd /srv/files/l; {links}")
    assert docker("exec", machine, "cat", f"/srv/files/l/{path}").out.encode() == said.strip()
    reply = ask(shared, "GET", machine, f"/srv/files/l/{path}".encode())
    if is_podman() and r"\344" in links:  # it tells in JSON where a link leads
        assert (reply.status, b'"path_out_of_reach"' in reply.body) == (400, True)
    else:
        assert reply == (200, said)


@pytest.mark.parametrize(
    ("links", "written"),
    [
        ("echo old >d/x; ln -s d/x l", "d/x"),
        ("ln -s d/sub/new l", "d/sub/new"),
        ("ln -s /srv/files/l/d/sub abs; ln -s abs/../x l; echo old >x", "d/x"),
        ("echo old >l", "l"),
    ],
    ids=["relative", "dangling", "over another", "none"],
)
@pytest.mark.parametrize("how", ["PUT", "cp"])
def test_what_is_written_at_a_link_is_written_where_it_leads(
    shared: Running, tmp_path: Path, links: str, written: str, how: str
) -> None:
    """As the worker's own shell would, and `docker cp`: the link stays one."""
    if is_podman() and "/../" in links:
        pytest.skip("Podman takes abs/.. for the folder that the link abs is in")
    machine = shared.assign("links")["containerId"]
    docker("exec", machine, "sh", "-c", f"rm -rf /srv/files/l; mkdir -p /srv/files/l/d/sub; cd /srv/files/l; {links}")
    before = docker("exec", machine, "sh", "-c", "find /srv/files/l -type l | sort").out
    if how == "PUT":
        assert ask(shared, "PUT", machine, b"/srv/files/l/l", body=b"new").status == 204
    else:
        source = tmp_path / "source"
        source.write_bytes(b"new")
        env = {"ORCHESTRATOR_URL": f"http://127.0.0.1:{shared.ports.api}"}
        copied = orchestrator("cp", str(source), f"{machine}:/srv/files/l/l", cwd=tmp_path, env=env)
        assert copied.returncode == 0, copied.stderr
    assert docker("exec", machine, "cat", f"/srv/files/l/{written}").out == "new"
    assert docker("exec", machine, "sh", "-c", "find /srv/files/l -type l | sort").out == before


def test_a_file_of_more_than_8_gib_is_read(shared: Running) -> None:
    """From its beginning, and nobody takes it for an empty one."""
    machine = shared.assign("large")["containerId"]
    begin = os.urandom(1_000_000)
    assert ask(shared, "PUT", machine, b"/srv/files/large", body=begin).status == 204
    docker("exec", machine, "sh", "-c", f"truncate -s {9 * GIB} /srv/files/large")
    with asking(shared, "GET", machine, b"/srv/files/large") as response:
        assert response.status == 200, response.read()
        assert response.read(3_000_000) == begin + bytes(2_000_000)
    docker("exec", machine, "rm", "/srv/files/large")
