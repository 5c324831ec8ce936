"""What a worker may do, as its own processes find it: rights, bounds, the host's secrets, and the ways out.

Takes about 90 seconds.
"""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.docker_command import EXAMPLE, LABEL, a_name, docker, docker_json, is_podman, processes_of
from tests.integration.inside import a_fetch, a_host_outside, a_probe_image, inside
from tests.integration.running import Running, a_service, orchestrator
from tests.integration.waiting import eventually
from tests.promises import refused

Start = Callable[..., Running]
DOCKERS_CAPABILITIES = 0x00000000A80425FB
SETUID, MKNOD = 1 << 7, 1 << 27


@pytest.fixture(scope="module")
def probe(example_image: str) -> Iterator[str]:
    with a_probe_image() as tag:
        yield tag


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, probe: str) -> Iterator[Running]:
    """A service with the default settings, and a secret in its own environment."""
    flags = ("--image", probe, "--min-idle", "0", "--on-release", "recycle", "--assign-timeout", "20")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").out)
        patch.setenv("SECRET_OF_THE_SERVICE", "hunter2")
        with a_service(tmp_path_factory.mktemp("plain"), *flags) as service:
            yield service


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory, probe: str) -> Iterator[Running]:
    """A service that holds its workers as tight as it can."""
    bounds = ("--memory", "64m", "--cpus", "0.5", "--pids-limit", "60")
    runtime = docker("info", "--format", "{{.DefaultRuntime}}").out
    rights = ("--cap-drop", "ALL", "--read-only", "--user", "web", "--runtime", runtime)
    flags = ("--image", probe, "--min-idle", "0", "--on-release", "recycle", "--assign-timeout", "20")
    with a_service(tmp_path_factory.mktemp("held"), *flags, *bounds, *rights) as service:
        yield service


@contextmanager
def a_worker(service: Running, project: str) -> Iterator[Any]:
    worker = service.assign(project)
    yield worker
    service.release(project)


def status(worker: Any, name: str, process: str = "self") -> str:
    """One line of what the kernel says of a process of the worker."""
    return inside(worker, f"grep ^{name}: /proc/{process}/status").out.partition(":")[2].strip()


def cgroup(worker: Any, *names: str) -> str:
    """The first of these files of the worker's own cgroup that there is: version 2 has other names than version 1."""
    return inside(worker, f"cd /sys/fs/cgroup; for f in {' '.join(names)}; do [ -e $f ] && cat $f && break; done").out


# by default


@pytest.mark.promise("rights")
def test_by_default_no_program_gains_rights(plain: Running) -> None:
    """Neither the worker, nor what it starts, nor a setuid program that another user starts."""
    with a_worker(plain, "rights") as worker:
        assert status(worker, "NoNewPrivs") == "1"
        assert status(worker, "NoNewPrivs", "1") == "1"
        assert inside(worker, "ls -l /bin/su").out.startswith("-rwsr-xr-x")
        tried = inside(worker, "busybox su web -c 'id -u; /bin/su root -c id'")
        assert "1000" in tried.out
        assert "uid=0" not in tried.out.partition("1000")[2]


@pytest.mark.promise("sudo")
def test_sudo_works_where_it_is_allowed(start: Start, probe: str) -> None:
    """Which shows as well that the test above could fail. A capability goes alone, under either of its names."""
    service = start("--image", probe, "--min-idle", "0", "--allow-sudo", "--cap-drop", "cap_mknod")
    worker = service.assign("rights")
    capabilities = int(status(worker, "CapEff"), 16)
    assert capabilities & ~DOCKERS_CAPABILITIES == 0
    assert capabilities & (SETUID | MKNOD) == SETUID
    if not is_podman():  # which gives fewer from the start
        assert capabilities == DOCKERS_CAPABILITIES & ~MKNOD
    assert inside(worker, "busybox mknod /tmp/disk b 8 0").code != 0
    assert status(worker, "NoNewPrivs") == "0"
    assert "uid=0" in inside(worker, "busybox su web -c 'id -u; /bin/su root -c id'").out.partition("1000")[2]


@pytest.mark.promise("rights")
def test_by_default_a_worker_has_no_more_than_dockers_capabilities(plain: Running) -> None:
    """It is not privileged: it sees no device of the host, and cannot mount."""
    with a_worker(plain, "capabilities") as worker:
        for kind in ("CapEff", "CapPrm", "CapBnd"):
            assert int(status(worker, kind), 16) & ~DOCKERS_CAPABILITIES == 0
        assert int(status(worker, "CapAmb"), 16) == 0
        assert status(worker, "Seccomp") == "2"
        assert inside(worker, "busybox mount -t tmpfs none /srv/files").code != 0
        devices = set(inside(worker, "ls /dev").out.split())
        dockers = {"core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout"}
        assert devices <= dockers | {"tty", "urandom", "zero", "console"}


@pytest.mark.promise("rights")
def test_a_worker_sees_nothing_of_the_host_or_the_service(plain: Running, probe: str) -> None:
    """No socket of Docker's, no folder of the host, and of the environment only what is meant for it."""
    with a_worker(plain, "socket") as worker:
        assert inside(worker, "(find / -xdev -type s; find / -name '*docker*.sock') 2>/dev/null").out == ""
        mounts = {line.split()[4]: line for line in inside(worker, "cat /proc/self/mountinfo").out.splitlines()}
        own = ("/proc", "/dev", "/sys")
        files = {"/", "/etc/resolv.conf", "/etc/hostname", "/etc/hosts"}
        files |= {"/run/.containerenv", "/run/podman-init"} if is_podman() else {"/sbin/docker-init"}
        assert {place for place in mounts if not place.startswith(own)} == files
        environment = inside(worker, "tr '\\0' '\\n' </proc/1/environ").out.splitlines()
        names = {"PATH", "HOSTNAME", "HOME", "DATABASE_URL"} | ({"container"} if is_podman() else set())
        assert {line.partition("=")[0] for line in environment} == names
        found = docker_json("inspect", worker["containerId"])
        host = found["HostConfig"]
        assert (found["Mounts"], host["Binds"] or [], host["Privileged"]) == ([], [], False)
        assert host["CapAdd"] or [] == []
        assert host["PidMode"] in {"", "private"}
        assert found["HostConfig"]["IpcMode"] in {"private", "shareable"}


@pytest.mark.promise("cpus")
def test_by_default_processes_are_limited_and_zombies_are_reaped(plain: Running) -> None:
    """The limit counts what is left behind, so an init takes it away."""
    with a_worker(plain, "processes") as worker:
        assert cgroup(worker, "pids.max", "pids/pids.max") == "2048"
        orphans = "for i in $(seq 50); do (sleep 0.1 >/dev/null &) ; done"
        assert inside(worker, orphans).code == 0
        zombies = "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null"
        left = "ps | grep '[s]leep 0.1'"
        eventually(lambda: inside(worker, f"{zombies}; {left}").out == "", "nothing is left of fifty orphans")


@pytest.mark.promise("cpus")
def test_without_a_limit_of_processes_the_engine_sets_none_either(probe: str, start: Start) -> None:
    service = start("--image", probe, "--min-idle", "0", "--pids-limit", "0")
    assert cgroup(service.assign("many"), "pids.max", "pids/pids.max") == "max"


@pytest.mark.promise("log")
def test_what_a_worker_prints_is_kept_up_to_a_limit(plain: Running) -> None:
    """50 MB in, 30 MiB at most on the host's disk, and the last line among them."""
    with a_worker(plain, "log") as worker:
        if not is_podman():  # which does not say
            assert docker_json("inspect", worker["containerId"])["HostConfig"]["LogConfig"] == {
                "Type": docker("info", "--format", "{{.LoggingDriver}}").out,
                "Config": {"max-size": str(10 * 1024 * 1024), "max-file": "3"},
            }
        line = "x" * 990
        many = f"yes {line} | head -n 50000 >/proc/1/fd/1; echo the last line >/proc/1/fd/1"
        assert inside(worker, many, timeout_s=60).code == 0
        last = lambda: docker("logs", "--tail", "1", worker["containerId"]).out == "the last line"  # noqa: E731
        eventually(last, "the last line is there", within_s=30)
        sizes = log_sizes(worker)
        assert len(sizes) == (1 if is_podman() else 3)
        assert sum(sizes) < 32 * 1024 * 1024
        if not is_podman():  # whose one file begins anew when it is full
            assert sum(sizes) > 10_000_000


def log_sizes(worker: Any) -> list[int]:
    """Bytes of each of the worker's log files, which only the host's root may read: a container looks."""
    path = Path(docker_json("inspect", worker["containerId"])["LogPath"])
    look = ("run", "--rm", "--userns", "host", "--network", "none", "-v", f"{path.parent}:/log:ro")
    return [
        int(size) for size in docker(*look, "--entrypoint", "sh", EXAMPLE, "-c", f"stat -c %s /log/{path.name}*").lines
    ]


# as chosen


@pytest.mark.promise("runtime")
def test_the_runtime_is_the_one_that_was_chosen(held: Running) -> None:
    """Podman takes no other than its own, of which its inspection tells."""
    with a_worker(held, "runtime") as worker:
        chosen = held.flags[held.flags.index("--runtime") + 1]
        found = docker_json("inspect", worker["containerId"])
        assert found["HostConfig"].get("Runtime") in {chosen, "oci" if is_podman() else chosen}


@pytest.mark.promise("cpus")
def test_memory_is_limited_with_swap_and_processors_too(held: Running) -> None:
    """What the worker's own cgroup says, in version 1 or 2."""
    with a_worker(held, "bounds") as worker:
        limit = str(64 * 1024 * 1024)
        assert cgroup(worker, "memory.max", "memory/memory.limit_in_bytes") == limit
        assert cgroup(worker, "memory.swap.max", "memory/memory.memsw.limit_in_bytes") in {"0", limit}
        assert cgroup(worker, "pids.max", "pids/pids.max") == "60"
        quota = cgroup(worker, "cpu.max", "cpu/cpu.cfs_quota_us").split()[0]
        assert int(quota) == 50_000


@pytest.mark.promise("memory")
def test_a_worker_that_eats_memory_is_killed_alone(held: Running) -> None:
    """Of the worker's processes the kernel takes the greedy one; nobody else notices."""
    with a_worker(held, "greedy") as greedy, a_worker(held, "other") as other:
        assert inside(greedy, "tail /dev/zero; echo ended with $?").out.endswith("ended with 137")
        assert inside(greedy, "echo still here").out == "still here"
        assert inside(other, "echo still here").out == "still here"


def test_a_worker_whose_main_process_eats_memory_comes_back_and_the_log_says_why(start: Start, probe: str) -> None:
    """It is restarted in place, with its files."""
    eats = "httpd -p 9092 -h /srv; until [ -e /srv/eat ]; do sleep 0.1; done; rm /srv/eat; exec tail /dev/zero"
    with a_probe_image(f'ENTRYPOINT ["sh", "-c", "{eats}"]') as image:
        service = start("--image", image, "--min-idle", "0", "--memory", "32m", "--refresh-interval", "1")
        worker = service.assign("greedy")
        begun = docker_json("inspect", worker["containerId"])["State"]["StartedAt"]
        inside(worker, "echo kept >/srv/note; touch /srv/eat")

        def again() -> bool:
            state = docker_json("inspect", worker["containerId"])["State"]
            return bool(state["Running"] and state["StartedAt"] != begun)

        eventually(again, "it was started again", within_s=60)
        assert service.assign("greedy") == worker
        assert inside(worker, "cat /srv/note").out == "kept"
        assert "ran out of memory and was killed" in service.log


@pytest.mark.promise("cpus")
def test_a_fork_bomb_ends_at_the_workers_limit(held: Running) -> None:
    """The service and other workers go on, and the worker can be destroyed."""
    bomb, other = held.assign("bomb"), held.assign("other")
    native = docker_json("inspect", bomb["containerId"])["Id"]
    gone_off = inside(bomb, "for i in $(seq 200); do sleep 300 >/dev/null 2>&1 & done; sleep 300")
    assert "can't fork" in gone_off.out
    assert 50 < len(processes_of(native)) <= 60
    assert inside(other, "echo still here").out == "still here"
    held.destroy(bomb["containerId"])
    assert docker("container", "inspect", native, check=False).failed
    held.release("other")


@pytest.mark.promise("read-only")
def test_a_read_only_worker_writes_to_its_tmp_only(held: Running) -> None:
    """As the user that was chosen, without any capability; programs can be run from /tmp."""
    with a_worker(held, "read-only") as worker:
        assert inside(worker, "id").out.startswith("uid=1000(web) gid=1000(web)")
        assert int(status(worker, "CapEff"), 16) == 0
        assert int(status(worker, "CapBnd"), 16) == 0
        where = inside(
            worker, "for d in / /srv /srv/files /etc /bin /run /var; do touch $d/mark && echo wrote to $d; done"
        )
        assert "wrote to" not in where.out
        assert "Read-only file system" in where.out
        assert inside(worker, "cp /bin/busybox /tmp/echo && /tmp/echo ran").out == "ran"
        root = inside(worker, "grep ' / / ' /proc/self/mountinfo || grep ' / ' /proc/self/mounts").out
        assert "ro," in root


# what the engine cannot do is said


@pytest.mark.promise("runtime")
def test_what_the_engine_cannot_do_is_told_to_callers(start: Start, request: pytest.FixtureRequest) -> None:
    """With status 503 and what to do. Podman would take no runtime but its own."""
    service = start("--min-idle", "0", "--assign-timeout", "5", "--runtime", "nope")
    said = "The engine has no runtime nope (it has: "
    if is_podman():
        said = "Podman ignores --runtime, and would use "
        refused(request)
    eventually(lambda: said in service.get("/somebody").text, f"callers hear: {said}", within_s=20)
    assert service.get("/somebody").status == 503


@pytest.mark.promise("network")
def test_a_named_network_is_used_and_left(start: Start) -> None:
    """`down` removes what is ours."""
    network = a_name("network")
    docker("network", "create", network)
    try:
        service = start("--min-idle", "1", "--network", network)
        (worker,) = service.await_idle(1)
        assert list(docker_json("inspect", worker)["NetworkSettings"]["Networks"]) == [network]
        service.end()
        assert orchestrator("down", *service.command_flags, cwd=service.folder).returncode == 0
        assert docker_json("network", "inspect", network)["Containers"] == {}
    finally:
        docker("network", "rm", network)


# the ways out


@contextmanager
def a_host_program() -> Iterator[int]:
    """The port of a program of the host's that listens on every address."""
    with http.server.ThreadingHTTPServer(("0.0.0.0", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def address_of(worker: Any) -> str:
    networks = docker_json("inspect", worker["containerId"])["NetworkSettings"]["Networks"]
    return str(next(iter(networks.values()))["IPAddress"])


def gateway_of(worker: Any) -> str:
    networks = docker_json("inspect", worker["containerId"])["NetworkSettings"]["Networks"]
    return str(next(iter(networks.values()))["Gateway"])


def answered(worker: Any, url: str) -> bool:
    """Whether anybody answers there, be it with an error."""
    done = inside(worker, a_fetch(url))
    return done.code == 0 or "server returned error" in done.out


@pytest.mark.promise("isolation", "host")
def test_workers_cannot_reach_each_other_nor_the_service(plain: Running) -> None:
    """Neither at their own addresses, nor where they are published; the host's public programs they can."""
    with a_worker(plain, "a") as a, a_worker(plain, "b") as b, a_host_program() as port:
        assert answered(a, f"http://{address_of(a)}:9092/health")
        assert answered(a, f"http://host.docker.internal:{port}/")
        assert not answered(a, f"http://{address_of(b)}:9092/health")
        assert inside(a, f"busybox ping -c 1 -W 2 {address_of(b)}").code != 0
        for host in ("host.docker.internal", gateway_of(a)):
            assert not answered(a, f"http://{host}:{b['port']}/health")
            assert not answered(a, f"http://{host}:{plain.ports.api}/health")


@pytest.mark.promise("isolation")
def test_workers_cannot_reach_those_of_another_orchestrator(plain: Running, held: Running) -> None:
    """Docker keeps its networks apart."""
    with a_worker(plain, "here") as here, a_worker(held, "there") as there:
        for one, other in ((here, there), (there, here)):
            assert answered(one, f"http://{address_of(one)}:9092/health")
            assert not answered(one, f"http://{address_of(other)}:9092/health")


def test_a_worker_that_reaches_the_service_needs_the_token(start: Start, probe: str) -> None:
    """Which it can only find out by guessing: it is nowhere in its container."""
    token = "a-token-of-more-than-16-characters"
    service = start("--image", probe, "--min-idle", "0", "--host", "0.0.0.0", start=False)
    secret = service.folder / "token"
    secret.write_text(token)
    secret.chmod(0o600)
    service.flags += ("--token-file", str(secret))
    service.start(await_answer=False)
    eventually(lambda: "The pool is at" in service.log, "the service answers", within_s=30)
    bearer = {"authorization": f"Bearer {token}"}
    reply = service.get("/mine", bearer)
    assert reply.status == 200, reply.text
    for path in ("mine", "somebody-else", "machines/list"):
        done = inside(reply.json, a_fetch(f"http://host.docker.internal:{service.ports.api}/{path}"))
        assert "401" in done.out, done.out
    assert token not in docker("inspect", reply.json["containerId"]).out
    assert inside(reply.json, f"grep -r {token} /proc/1/environ /etc /srv /tmp").code != 0


@pytest.mark.promise("outbound")
def test_with_outbound_host_nothing_beyond_the_host_answers(start: Start, probe: str) -> None:
    """Its callers reach it, and it reaches the host's public programs, but no other machine, and no name is looked up."""
    with a_host_outside() as outside, a_host_program() as port:
        service = start("--image", probe, "--min-idle", "0")
        free = service.assign("free")
        assert answered(free, outside), "else the rest of the test proves nothing"
        service.end()
        service.flags += ("--outbound", "host")
        service.start()
        eventually(lambda: service.get("/closed").status == 200, "a machine of the new template", within_s=30)
        closed = service.assign("closed")
        assert not answered(closed, outside)
        assert answered(closed, f"http://host.docker.internal:{port}/")
        assert answered(closed, f"http://{gateway_of(closed)}:{port}/")
        assert not answered(closed, f"http://{address_of(free)}:9092/health")
        assert "bad address" in inside(closed, "wget -q -O - http://name.example/").out
        service.end()
        networks = ("network", "ls", "--filter", f"label={LABEL}.owner={service.owner}", "--format", "{{.Name}}")
        assert len(docker(*networks).lines) >= 2
        down = orchestrator("down", "--all", "--yes", *service.command_flags, cwd=service.folder)
        assert down.returncode == 0, down.stderr
        assert docker(*networks).lines == []
