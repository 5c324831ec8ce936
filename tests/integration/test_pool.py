"""The warm pool on real Docker: its size, its line, what happens to it behind its back, and images that do not run."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import math
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest
from tests.integration.calling import Answer, all_soon, call
from tests.integration.conftest import Start
from tests.integration.docker_command import (
    EXAMPLE,
    LABEL,
    Events,
    a_name,
    docker,
    docker_json,
    engine_command,
    make_image,
    remove_image,
)
from tests.integration.running import Running
from tests.integration.waiting import eventually, holds_for

NO_MACHINE = "Failed to create worker or no machines available"
EXITS = 'ENTRYPOINT ["sh", "-c", "echo cannot reach the database; exit 3"]'
NEVER_LISTENS = 'ENTRYPOINT ["sh", "-c", "echo warming up; exec sleep 600"]'
WORKS = 'ENTRYPOINT ["/bin/worker"]'


@pytest.fixture
def image(example_image: str) -> Iterator[str]:
    """A tag of this test's own, for an image that works."""
    tag = f"{a_name('image')}:latest"
    make_image(tag, "LABEL build=1")
    yield tag
    remove_image(tag)


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as reply:
        return str(reply.read().decode())


def refused(answer: Answer) -> str:
    """The reason of a 503, which must be one as documented."""
    assert answer.status == 503, f"{answer.status} {answer.text}"
    assert set(answer.json) == {"error", "message"}
    assert answer.json["error"] == NO_MACHINE
    assert int(answer.headers["retry-after"]) >= 1
    return str(answer.json["message"])


def waiting(service: Running) -> int:
    """How many projects stand in line."""
    return int(service.get("/v1/health").json["waiting"])


@contextmanager
def sampled(look: Callable[[], Any]) -> Iterator[list[Any]]:
    """What `look` returned, over and over, while the block ran."""
    seen: list[Any] = []
    done = Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(look())

    thread = Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


# sizes


def test_the_pool_is_filled_and_refilled_at_once(shared: Running) -> None:
    """When one is taken, the next one is begun in the same moment, not at the next refresh."""
    shared.await_idle(2)
    taken = shared.assign("taker")["containerId"]
    begun = time.monotonic()
    shared.await_idle(2)
    assert time.monotonic() - begun < 8, "a refresh is every 10 s"
    assert taken not in shared.idle()
    shared.destroy(taken)


def test_a_warm_assign_is_quick(shared: Running) -> None:
    """The container runs already."""
    shared.await_idle(2)
    answer = shared.get("/in-a-hurry")
    assert answer.status == 200
    assert answer.took_s < 0.5
    shared.destroy(answer.json["containerId"])


@pytest.mark.promise("death")
def test_a_machine_that_is_killed_leaves_the_list_at_once(shared: Running) -> None:
    """Within 250 ms (the best of three, or of ten: other programs' work counts in the time), and it is replaced."""
    delays: list[float] = []
    while len(delays) < 3 or (min(delays) >= 0.25 and len(delays) < 10):
        victim = shared.await_idle(2)[0]
        docker("kill", victim)
        begun = time.monotonic()
        eventually(lambda victim=victim: victim not in shared.idle(), f"{victim} is out of the list")  # type: ignore[misc]
        delays.append(time.monotonic() - begun)
        shared.await_idle(2)
        assert victim not in shared.idle()
    assert min(delays) < 0.25, delays


def test_a_machine_that_is_removed_is_replaced(shared: Running) -> None:
    """`docker rm -f` of an idle one."""
    victim = shared.await_idle(2)[0]
    docker("rm", "-f", victim)
    eventually(lambda: victim not in shared.idle(), f"{victim} is out of the list", within_s=5)
    shared.await_idle(2)


@pytest.mark.promise("restart")
def test_a_killed_machine_of_a_project_is_restarted_in_place(shared: Running) -> None:
    """Its files and its port are somebody's work: the project keeps them."""
    before = shared.assign("keeps-its-files")
    name = before["containerId"]
    docker("exec", name, "sh", "-c", "echo my work >/srv/files/work.txt")
    docker("kill", name)
    eventually(lambda: docker_json("inspect", name)["State"]["Running"], "it runs again", within_s=5)
    eventually(lambda: shared.machine_of("keeps-its-files") is not None, "it is listed again", within_s=5)
    assert shared.assign("keeps-its-files") == before
    assert page(f"{before['url']}/files/work.txt") == "my work\n"
    shared.destroy(name)


def test_an_assign_during_the_restart_waits_for_it(shared: Running) -> None:
    """It neither gets another machine nor a URL that does not answer."""
    before = shared.assign("in-the-middle")
    docker("kill", before["containerId"])
    after = shared.assign("in-the-middle")
    assert after["containerId"] == before["containerId"]
    shared.destroy(before["containerId"])


@pytest.mark.promise("death")
def test_whoever_asks_for_a_machine_that_is_no_longer_listed_gets_one_that_answers(shared: Running) -> None:
    """Docker's event takes it off the list; what became of it only a listing shows, and that comes a moment later."""
    before = shared.assign("not-listed")
    docker("kill", before["containerId"])
    eventually(lambda: shared.machine_of("not-listed") is None, "it is out of the list", within_s=5)
    after = shared.assign("not-listed")
    assert after == before
    assert page(after["url"])
    shared.destroy(before["containerId"])


def test_a_removed_machine_of_a_project_is_replaced_at_its_next_assign(shared: Running) -> None:
    """Its files are gone, so nothing is kept for it."""
    before = shared.assign("lost-its-files")
    docker("rm", "-f", before["containerId"])
    # Docker 26 and newer list it as exited for a moment: until it is known to be gone, a restart is tried and waited for.
    gone = f"SELECT gone FROM machine WHERE id = '{before['containerId']}'"
    eventually(lambda: shared.rows(gone) == [(1,)], "it is known to be gone", within_s=5)
    assert shared.machine_of("lost-its-files") is None, "it is out of the list"
    after = shared.assign("lost-its-files")
    assert after["containerId"] != before["containerId"]
    assert page(after["url"])
    shared.destroy(after["containerId"])


def test_containers_of_others_are_left_alone(shared: Running) -> None:
    """A plain one, one that is only named like ours, a foreign one and a stray: through kills and refreshes."""
    stranger = a_name("owner")
    names = [f"worker-170000000000{number}-{a_name('other')}" for number in range(4)]
    labels = [{}, {}, {"owner": stranger, "machine": names[2]}, {"owner": shared.owner, "machine": names[3]}]
    try:
        for name, labelled in zip(names, labels, strict=True):
            words = [word for key, value in labelled.items() for word in ("--label", f"{LABEL}.{key}={value}")]
            docker("run", "-d", "--name", name, *words, EXAMPLE)
        shared.destroy(shared.await_idle(2)[0])
        docker("kill", shared.await_idle(2)[0])
        shared.await_idle(2)
        assert not set(names) & {machine["id"] for machine in shared.machines()}
        for name in names:
            assert docker_json("inspect", name)["State"]["Running"]
        docker("kill", *names)
        shared.destroy(shared.await_idle(2)[0])
        shared.await_idle(2)
        for name in names:
            assert docker_json("inspect", name)["State"]["Status"] == "exited"
    finally:
        docker("rm", "-f", *names, check=False)


def test_a_paused_machine_of_a_project_keeps_it(shared: Running) -> None:
    """Paused is not dead: its project hears what helps, and has it as before when that was done."""
    machine = shared.assign("paused")
    docker("pause", machine["containerId"])
    try:
        refusal = eventually(
            lambda: answer if (answer := shared.get("/paused")).status == 503 else None, "its project hears why"
        )
        assert refusal is not None
        assert f"`{engine_command()} unpause {machine['containerId']}`" in refusal.json["message"]
        assert shared.get("/v1/projects/paused/machine").json["id"] == machine["containerId"]
        docker("unpause", machine["containerId"])
        eventually(lambda: shared.get("/paused").status == 200, "it serves again")
        assert shared.assign("paused") == machine
    finally:
        docker("unpause", machine["containerId"], check=False)
        shared.destroy(machine["containerId"])


def test_released_machines_are_used_again(shared: Running) -> None:
    """As the document says: released means available for reuse."""
    machine = shared.assign("first-owner")
    shared.release("first-owner")
    eventually(lambda: machine["containerId"] in shared.idle(), "it is idle")
    assert docker_json("inspect", machine["containerId"])["State"]["Running"]
    while (idle := shared.idle())[2:]:
        shared.destroy(idle[0])


def test_with_recycle_nothing_of_a_project_reaches_the_next(start: Start) -> None:
    """A released machine is removed, and the pool makes a new one."""
    service = start("--min-idle", "1", "--on-release", "recycle")
    machine = service.assign("tidy")["containerId"]
    service.release("tidy")
    assert machine not in [found["id"] for found in service.machines()]
    eventually(lambda: machine not in service.containers(), "its container is gone")
    assert machine not in service.await_idle(1)


def test_surplus_goes_only_where_max_idle_says_so(start: Start) -> None:
    """By the document, containers persist."""
    service = start("--min-idle", "1", "--max-idle", "1")
    for project in ("a", "b"):
        service.assign(project)
    service.await_idle(1)
    for project in ("a", "b"):
        service.release(project)
    eventually(lambda: len(service.containers()) == 1, "only one container is left")
    service.await_idle(1)


# the line


@pytest.mark.promise("assign")
def test_the_limit_holds_under_any_crowd(start: Start) -> None:
    """200 at once for 8 machines: eight get one each, one more gets the one that is released, the rest hear in time."""
    flags = ("--min-idle", "5", "--max-machines", "8", "--assign-timeout", "4")
    service = start(*flags)
    service.await_idle(5)
    released = Event()

    async def release_first(number: int, answer: Answer) -> None:
        if answer.status == 200 and not released.is_set():
            released.set()
            await asyncio.to_thread(service.release, f"crowd-{number}")

    with sampled(lambda: len(service.containers())) as counts:
        asked = all_soon(service.ports.api, [f"/crowd-{number}" for number in range(200)], release_first)
        answers, late_s = asyncio.run(asked)
    served = [answer.json["containerId"] for answer in answers if answer.status == 200]
    assert len(served) == 9
    assert len(set(served)) == 8, "all different, and one of them twice: the released one"
    for answer in answers:
        if answer.status != 200:
            assert "8" in refused(answer)
            assert answer.took_s < 5.5 + late_s
    assert max(counts) == 8
    holders = [machine["assignedProject"] for machine in service.machines() if machine["isUsed"]]
    assert len(holders) == 8


def test_first_come_is_first_served(start: Start) -> None:
    """Those who wait are served in order, and before whoever comes later."""
    service = start("--min-idle", "1", "--max-machines", "1", "--assign-timeout", "20")
    service.assign("holder")
    order: list[str] = []
    with ThreadPoolExecutor(4) as pool:

        def ask(project: str) -> None:
            assert service.get(f"/{project}").status == 200
            order.append(project)
            service.release(project)

        asked = []
        for number in range(4):
            asked.append(pool.submit(ask, f"waiter-{number}"))
            eventually(lambda count=number + 1: waiting(service) == count, "it stands in line")  # type: ignore[misc]
        assert not order, "nobody is served yet"
        service.release("holder")
        for one in asked:
            one.result()
    assert order == [f"waiter-{number}" for number in range(4)]


def test_whoever_hangs_up_leaves_the_line(start: Start) -> None:
    """What is released goes to nobody, and is idle."""
    service = start("--min-idle", "1", "--max-machines", "1", "--assign-timeout", "30")
    holder = service.assign("holder")["containerId"]
    with closing(http.client.HTTPConnection("127.0.0.1", service.ports.api)) as leaver:
        leaver.request("GET", "/leaver", headers={"Host": "localhost"})
        eventually(lambda: waiting(service) == 1, "it waits")
    eventually(lambda: waiting(service) == 0, "it left the line")
    service.release("holder")
    assert service.await_idle(1) == [holder]
    holds_for(lambda: service.idle() == [holder], "nobody gets it", for_s=0.5)
    assert service.assign("next")["containerId"] == holder


def test_whoever_waits_is_answered_when_the_service_stops(start: Start) -> None:
    """With 503, not with a broken connection."""
    service = start("--min-idle", "1", "--max-machines", "1", "--assign-timeout", "30")
    service.assign("holder")
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(service.get, "/waiter")
        eventually(lambda: waiting(service) == 1, "it waits")
        assert service.end() == 0
        assert "stopping" in refused(waits.result())


def test_whoever_waits_for_a_command_hears_that_the_service_stops(start: Start) -> None:
    """It would take longer than a service that stops may wait. A proxy or a program must not take that for a defect."""
    service = start("--min-idle", "1", "--max-machines", "1")
    machine = service.assign("holder")["containerId"]
    words = {"command": ["sleep", "60"], "timeout_seconds": 50}
    with ThreadPoolExecutor(1) as pool:
        runs = pool.submit(call, service.ports.api, "POST", f"/v1/machines/{machine}/exec", words, timeout_s=60)
        eventually(lambda: "sleep 60" in docker("top", machine).out, "it runs")
        assert service.end() == 0
        answer = runs.result()
    problem = json.loads(answer.text)
    assert (answer.status, problem["code"]) == (503, "outcome_unknown")
    assert "The service is stopping" in problem["detail"]
    assert "Traceback" not in service.log


# images that do not run


def test_an_image_that_exits_is_tried_with_growing_pauses(start: Start, image: str) -> None:
    """Everybody hears why at once, with its last lines; when it is mended under its tag, the pool comes up."""
    make_image(image, EXITS)
    service = start("--image", image, start=False)
    service.start(await_answer=False)
    eventually(lambda: service.has_store, "it begins")
    with Events.of(service.owner, "create", "die") as attempts:
        eventually(service._answers_or_ended, "the service answers")
        message = eventually(lambda: _failure(service), "the failure is told")
        answer = service.get("/impatient")
        assert answer.took_s < 1
        assert "cannot reach the database" in refused(answer)
        assert "The container exited with code 3." in message
        # One at a time after two idle ones and the one that is waited for, which come as fast as the engine can.
        eventually(lambda: _grow(_pauses(attempts)), "each pause is longer than the one before", within_s=40)
    assert not service.machines()
    make_image(image, WORKS)
    service.await_idle(2)
    assert service.get("/patient").status == 200
    eventually(lambda: len(service.containers()) == 3, "nothing of the attempts is left")


def _pauses(attempts: Events) -> list[float]:
    """Before each attempt: since the last one ended, in seconds, however long that took to start."""
    ended_s, pauses = math.inf, list[float]()
    for event in list(attempts.seen):
        at_s = event["timeNano"] / 1e9
        if event["Action"] == "die":
            ended_s = at_s
        else:
            pauses.append(max(0.0, at_s - ended_s))
    return pauses


def _grow(pauses: list[float]) -> bool:
    """From one second on. The first may seem shorter: it began at a failure before the last."""
    return any(first > 0.9 and second > 1.9 for first, second in itertools.pairwise(pauses[2:]))


def _failure(service: Running) -> str:
    answer = service.get("/somebody")
    message = answer.json.get("message", "")
    return message if "exit" in message else ""


def test_an_image_that_never_listens_is_told_so(start: Start, image: str) -> None:
    """After the start time-out, with what to look at and its last lines."""
    make_image(image, NEVER_LISTENS)
    service = start("--image", image, "--start-timeout", "1.5", "--min-idle", "1")
    first = service.get("/somebody")
    message = refused(first)
    assert first.took_s < 5, "not at the next refresh, but as soon as it is certain"
    assert "The worker did not answer within 1.5 s of its start" in message
    assert "0.0.0.0:9092" in message
    assert "warming up" in message
    answer = service.get("/somebody-else")
    assert answer.status == 503


def test_an_image_that_is_missing_is_told_so(start: Start) -> None:
    """At once, with its name and what to do."""
    service = start("--image", "localhost:1/no/such-image:v9")
    message = eventually(
        lambda: m if "no/such-image:v9" in (m := refused(service.get("/somebody"))) else "", "the reason is told"
    )
    assert "--image" in message
    assert service.get("/somebody").took_s < 1
    assert service.get("/health").status == 200


def test_an_image_with_several_ports_is_told_so(start: Start, image: str) -> None:
    """The message names them and the setting that decides."""
    make_image(image, "EXPOSE 8080")
    service = start("--image", image)
    message = eventually(
        lambda: m if "several ports" in (m := refused(service.get("/somebody"))) else "", "the reason is told"
    )
    assert "8080, 9092" in message
    assert "--worker-port" in message


def test_a_rebuilt_image_replaces_idle_machines_one_by_one(start: Start, image: str) -> None:
    """There are never fewer idle ones than `min_idle`, and what is assigned stays as it is."""
    service = start("--image", image, "--min-idle", "2")
    kept = service.assign("stays")["containerId"]
    old = set(service.await_idle(2))
    with sampled(lambda: service.get("/health").json["machines"]["idle"]) as idle:
        make_image(image, "LABEL build=2")
        eventually(lambda: len(new := set(service.idle())) == 2 and not new & old, "all idle machines are new")
    assert min(idle) >= 2, [line for line in service.log.splitlines() if "why=" in line and "created" not in line]
    eventually(lambda: len(service.containers()) == 3, "the old ones are gone")
    machine = service.machine_of("stays")
    assert machine is not None
    assert machine["id"] == kept
    images = {docker_json("inspect", name)["Image"] for name in service.idle()}
    assert images == {docker_json("image", "inspect", image)["Id"]}
    service.release("stays")
    eventually(lambda: kept not in service.containers(), "a released one of the old image goes")


def test_a_broken_rebuild_leaves_the_old_ones_serving(start: Start, image: str) -> None:
    """Better an old worker than none."""
    service = start("--image", image, "--min-idle", "2")
    old = set(service.await_idle(2))
    with Events.of(service.owner, "create") as creates:
        make_image(image, EXITS)
        eventually(lambda: len(creates.seen) >= 2, "it is tried, and tried again", within_s=20)
    assert set(service.idle()) == old
    assert service.assign("served")["containerId"] in old
    make_image(image, "LABEL build=3")
    eventually(lambda: len(new := set(service.idle())) == 2 and not new & old, "it recovers", within_s=30)


# ports


def test_a_port_of_another_process_is_passed_over(start: Start) -> None:
    """Nobody gets a 500, and the machine gets another port."""
    service = start("--min-idle", "2", start=False)
    with socket.create_server(("127.0.0.1", service.ports.first)):
        service.start()
        service.await_idle(2)
        machines = [service.assign(f"project-{number}") for number in range(3)]
    assert service.ports.first not in [machine["port"] for machine in machines]
    for machine in machines:
        assert page(machine["url"])


def served(service: Running, project: str) -> bool:
    """Whether an assign of this project is served now."""
    return service.get(f"/{project}").status == 200


def test_without_a_free_port_it_says_so(start: Start) -> None:
    """All of a range of two are in use."""
    service = start("--min-idle", "0", "--assign-timeout", "4", start=False)
    service.flags += ("--last-port", str(service.ports.first + 1))
    service.start()
    for project in ("first", "second"):
        eventually(partial(served, service, project), "a busy machine takes longer to start it", within_s=30)
    message = refused(service.get("/one-too-many"))
    assert f"No host port from {service.ports.first} to {service.ports.first + 1} is free" in message
    service.release("first")
    assert service.get("/one-too-many").status == 200


def test_a_freed_port_is_given_again_last(start: Start) -> None:
    """A dead project's stale URL must not show the next tenant."""
    service = start("--min-idle", "0")
    first = service.assign("first")
    service.destroy(first["containerId"])
    assert service.assign("second")["port"] != first["port"]


def test_the_log_can_be_json(start: Start) -> None:
    """One object a line, each with an event, for every transition."""
    service = start("--min-idle", "1", "--log-format", "json")
    service.assign("logged")
    eventually(lambda: '"assigned"' in service.log, "it stands in the log")
    lines = [json.loads(line) for line in service.log.splitlines() if line.startswith("{")]
    assert {"created", "answered", "assigned"} <= {line["event"] for line in lines}
    (assigned,) = [line for line in lines if line["event"] == "assigned"]
    assert assigned["project"] == "logged"
    assert call(service.ports.api, "GET", "/health").status == 200


def test_somebody_else_who_answers_at_its_port_is_not_taken_for_a_projects_machine(start: Start) -> None:
    """Its container ended, and another program has the port by the time that it is to be started again."""
    service = start("--min-idle", "0", "--refresh-interval", "1", "--assign-timeout", "2")
    eventually(lambda: service.get("/mine").status == 200, "a busy machine starts it in more than that", within_s=30)
    mine = service.assign("mine")
    os.kill(service.pid, signal.SIGSTOP)
    try:
        docker("kill", mine["containerId"])
        thief = ThreadingHTTPServer(("127.0.0.1", mine["port"]), SimpleHTTPRequestHandler)
        Thread(target=thief.serve_forever, args=(0.05,), daemon=True).start()
    finally:
        os.kill(service.pid, signal.SIGCONT)
    try:
        eventually(lambda: "port taken" in service.log, "the restart is refused")
        holds_for(lambda: service.machine_of("mine") is None, "nobody takes the thief for it", for_s=1.5)
        assert service.get("/mine").status == 503
    finally:
        thief.shutdown()
        thief.server_close()
    eventually(lambda: service.get("/mine").status == 200, "it is started again", within_s=30)
    assert service.assign("mine") == mine
