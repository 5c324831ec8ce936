"""A machine that is running already gets values, secrets and files with its assign, and nobody else ever sees them."""

from __future__ import annotations

import http.client
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.calling import Answer, call
from tests.integration.docker_command import docker, processes_of, takes_feeds
from tests.integration.inside import a_probe_image, inside
from tests.integration.late_service import DIRECTORY, FLAGS, a_tar, put
from tests.integration.running import Running, a_service, orchestrator
from tests.integration.waiting import eventually

from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.engines.late_archive import late_archive

pytestmark = pytest.mark.promise("late")

CRASHING = Path(__file__).with_name("crashing_service.py")
SECRET = "correct-horse battery'staple\nand a second line"


@pytest.fixture(scope="module")
def image(example_image: str) -> Iterator[str]:
    with a_probe_image() as tag:
        yield tag


@pytest.fixture(scope="module")
def reusing(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Released machines are used again."""
    with a_service(tmp_path_factory.mktemp("late"), "--image", image, "--max-machines", "4", *FLAGS) as service:
        service.await_idle(2)
        yield service


def machine(service: Running, project: str) -> Any:
    return call(service.ports.api, "GET", f"/v1/projects/{project}/machine").json


def told(answer: Answer, status: int) -> Any:
    assert answer.status == status, f"{answer.status} {answer.text}"
    return json.loads(answer.body)


def test_all_of_it_is_there_before_the_reply_and_in_the_order_of_the_docs(reusing: Running) -> None:
    env = {"GREETING": 'it\'s "fine" $HOME', "HOOK": "echo ready with $(cat /run/project/secrets/TOKEN)"}
    reply = told(put(reusing, "shop", env, {"TOKEN": SECRET, "b.pem": "x"}, a_tar({"conf/app.toml": b"a = 1\n"})), 201)
    assert reply["configured"] is True
    assert reply["setup"]["exit_code"] == 0
    assert reply["setup"]["output"] == "ready with *** ***"

    def see(script: str) -> str:
        return inside(reply, f"cd {DIRECTORY}; {script}").out

    assert see("ls -1").split() == ["env", "env.json", "files", "ready", "secrets"]
    assert see('. ./env; printf %s "$GREETING"') == env["GREETING"]
    assert see("cat secrets/TOKEN") == SECRET
    assert see("stat -c %a secrets/TOKEN") == "400"
    assert see("cat files/conf/app.toml") == "a = 1"
    assert see("test ready -nt env || ls -l --full-time") == "" or see("stat -c %Y ready env")
    assert see("mount").count(f"tmpfs on {DIRECTORY} ") == 1
    assert machine(reusing, "shop")["configured"] is True
    assert "shop" in reusing.assign("shop")["url"] or reusing.assign("shop")["containerId"] == reply["id"]
    reusing.release("shop")


def test_the_same_values_again_run_no_hook_and_others_are_refused(reusing: Running) -> None:
    env = {"HOOK": "echo x >>/tmp/count"}
    first = told(put(reusing, "again", env, {"A": "one"}), 201)
    second = told(put(reusing, "again", env, {"A": "one"}), 200)
    assert (second["configured"], second["setup"]["exit_code"]) == (True, 0)
    assert inside(first, "wc -l </tmp/count").out == "1"

    refusal = told(put(reusing, "again", env, {"B": "two"}), 409)
    assert refusal["code"] == "configured_otherwise"
    assert inside(first, f"ls {DIRECTORY}/secrets").out == "A"

    replaced = told(put(reusing, "again", env, {"B": "two"}, replace=True), 200)
    assert (replaced["configured"], replaced["generation"]) == (True, first["generation"])
    assert inside(first, f"ls {DIRECTORY}/secrets; wc -l </tmp/count").out.split() == ["B", "2"]
    reusing.release("again")


@pytest.mark.parametrize(
    ("hook", "code"), [("exit 3", 3), ("echo no >&2; exit 1", 1), ("sleep 60", None), ("kill -9 $$", 137)]
)
def test_a_hook_that_fails_leaves_the_machine_to_its_project(reusing: Running, hook: str, code: int | None) -> None:
    problem = told(put(reusing, "fails", {"HOOK": hook}), 424)
    assert (problem["code"], problem["setup"]["exit_code"]) == ("setup_failed", code)
    assert problem["setup"]["output"] == ("no" if "no" in hook else "")
    own = machine(reusing, "fails")
    assert (own["id"], own["configured"], own["state"]) == (problem["machine"], False, "assigned")

    mended = told(put(reusing, "fails", {"HOOK": "true"}), 200)
    assert (mended["configured"], mended["id"]) == (True, own["id"])
    reusing.release("fails")


def test_a_flood_of_output_is_no_problem(reusing: Running) -> None:
    problem = told(
        put(reusing, "flood", {"HOOK": "yes $(cat /run/project/secrets/T) | head -c 3000000; exit 1"}, {"T": "tttt"}),
        424,
    )
    assert problem["setup"]["output"].splitlines() == ["***"] * 20
    reusing.release("flood")


def test_after_a_restart_it_is_not_configured_until_the_values_come_again(reusing: Running) -> None:
    env, secrets = {"HOOK": "true"}, {"A": SECRET}
    first = told(put(reusing, "restarted", env, secrets), 201)
    answer = call(reusing.ports.api, "POST", f"/v1/machines/{first['id']}/restart")
    assert answer.status in {200, 202}, answer.text
    eventually(lambda: machine(reusing, "restarted")["state"] == "assigned", "it serves again")
    assert machine(reusing, "restarted")["configured"] is False
    assert inside(first, f"ls {DIRECTORY}").out == ""
    reusing.assign("restarted")
    assert machine(reusing, "restarted")["configured"] is False, "the document's route configures nothing"
    why = call(reusing.ports.api, "GET", "/v1/projects/restarted/why").json
    assert "unconfigured" in [event["cause"] for event in why["events"]]

    second = told(put(reusing, "restarted", env, secrets), 200)
    assert (second["configured"], second["generation"]) == (True, first["generation"])
    assert inside(first, f"cat {DIRECTORY}/secrets/A").out == SECRET.strip()
    reusing.release("restarted")


def test_a_container_that_was_restarted_behind_our_back_gets_its_values_again(reusing: Running) -> None:
    first = told(put(reusing, "behind", {"HOOK": "true"}, {"A": "one"}), 201)
    docker("restart", "-t", "1", first["id"])
    eventually(lambda: machine(reusing, "behind")["state"] == "assigned", "it serves again")
    reusing.assign("behind")
    again = told(put(reusing, "behind", {"HOOK": "true"}, {"A": "one"}), 200)
    assert again["configured"] is True
    assert inside(first, f"cat {DIRECTORY}/secrets/A").out == "one"
    reusing.release("behind")


def test_the_next_project_finds_a_clean_machine(reusing: Running) -> None:
    """Although the hook left a process, an open file and a folder that nobody may read."""
    leave = f"cp -r {DIRECTORY} /dev/shm/mine; (exec 3<{DIRECTORY}/secrets/A; exec setsid sleep 600) & sleep 0.2"
    first = told(put(reusing, "tenant", {"HOOK": leave, "MARK": "mark-of-tenant"}, {"A": "mark-of-tenant"}), 201)
    reusing.release("tenant")

    def given() -> Any | None:
        """Its machine comes to the next ones, sooner or later."""
        answer = told(put(reusing, "next", {"HOOK": "true"}), 201)
        if answer["id"] == first["id"]:
            return answer
        reusing.release("next")
        return None

    eventually(lambda: first["id"] in reusing.idle(), "it is idle again")
    second = eventually(given, "it is given to the next one", within_s=60)
    places = f"{DIRECTORY} /dev/shm /tmp /proc/[0-9]*/environ"
    assert inside(second, f"grep -rl mark-of-tenant {places}; ps | grep -c '[s]leep 600'").out.split() == ["0"]
    reusing.release("next")


def test_what_goes_wrong_can_be_replaced(image: str, tmp_path: Path) -> None:
    flags = ("--image", image, "--min-idle", "1", "--on-release", "recycle", *FLAGS, "--on-setup-failure", "replace")
    with a_service(tmp_path / "service", *flags) as service:
        service.await_idle(1)
        problem = told(put(service, "shop", {"HOOK": "exit 3"}), 424)
        assert service.get("/v1/projects/shop/machine").status == 404
        eventually(lambda: problem["machine"] not in service.containers(), "it is removed")
        second = told(put(service, "shop", {"HOOK": "true"}), 201)
        assert (second["configured"], second["id"] != problem["machine"]) == (True, True)


def insist_on_feeds() -> None:
    if not takes_feeds():
        pytest.skip("this engine takes archives quickly")


def tars(machine_id: str) -> int:
    """How many programs wait for values in this machine."""
    return sum(f"-f - -C {DIRECTORY}" in process for process in processes_of(machine_id))


def test_a_program_waits_for_the_values_of_the_first_project_and_for_no_other(image: str, tmp_path: Path) -> None:
    """Where archives are slow. It ends with the service, however that ends, and is there again when it runs."""
    insist_on_feeds()
    flags = ("--image", image, "--min-idle", "1", "--max-machines", "1", "--on-release", "reuse", *FLAGS)
    with a_service(tmp_path / "service", *flags) as service:
        (first,) = service.await_idle(1)
        eventually(lambda: tars(first) == 1, "a program waits")
        service.end(signal.SIGKILL)
        eventually(lambda: tars(first) == 0, "it has ended with the service")
        service.start()
        eventually(lambda: tars(first) == 1, "a program waits again")
        service.end()
        eventually(lambda: tars(first) == 0, "it has ended with the service")
        service.start()
        eventually(lambda: tars(first) == 1, "a program waits again")
        reply = told(put(service, "shop", {"HOOK": "true"}, {"A": SECRET}), 201)
        assert (reply["id"], reply["configured"]) == (first, True)
        assert inside(reply, f"cat {DIRECTORY}/secrets/A").out == SECRET
        assert tars(first) == 0
        service.release("shop")
        eventually(lambda: service.idle() == [first], "it is clean, and idle")
        time.sleep(2.5)  # it is looked for such machines once a second
        assert tars(first) == 0
        told(put(service, "next", {"HOOK": "true"}, {"A": SECRET}), 201)
        service.release("next")


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_a_kill_while_it_is_fed_leaves_a_machine_that_can_be_configured(image: str, tmp_path: Path, when: str) -> None:
    insist_on_feeds()
    with a_service(tmp_path / "service", "--image", image, "--min-idle", "1", *FLAGS, start=False) as service:
        service.start(command=(sys.executable, str(CRASHING), "configure", when, "1"))
        (first,) = service.await_idle(1)
        eventually(lambda: tars(first) == 1, "a program waits")
        with pytest.raises((OSError, http.client.HTTPException)):
            put(service, "shop", {"HOOK": "true"}, {"A": "first", "B": SECRET}, a_tar({"a": b"x" * 900_000}))
        assert service.wait() == -signal.SIGKILL
        service.start()
        own = machine(service, "shop")
        assert (own["id"], own["configured"]) == (first, False)
        eventually(lambda: tars(first) == 0, "it has ended with the service")
        reply = told(put(service, "shop", {"HOOK": "true"}, {"A": SECRET}), 200)
        assert (reply["id"], reply["configured"]) == (first, True)
        assert inside(reply, f"cd {DIRECTORY}; ls secrets files; cat secrets/A").out == (
            f"files:\n\nsecrets:\nA\n{SECRET}"
        )


def test_it_waits_no_longer_where_a_project_sent_nothing(image: str, tmp_path: Path) -> None:
    insist_on_feeds()
    with a_service(tmp_path / "service", "--image", image, "--min-idle", "1", *FLAGS) as service:
        (first,) = service.await_idle(1)
        eventually(lambda: tars(first) == 1, "a program waits")
        own = service.assign("shop")
        eventually(lambda: tars(first) == 0, "it is given up")
        reply = told(put(service, "shop", {"HOOK": "true"}, {"A": SECRET}), 200)
        assert reply["configured"] is True
        assert inside(own, f"cat {DIRECTORY}/secrets/A").out == SECRET


def test_a_pool_that_takes_none_says_so(shared: Running) -> None:
    problem = told(put(shared, "shop", {"A": "one"}), 400)
    assert "late" in problem["detail"]
    assert shared.machine_of("shop") is None


def test_the_command_line_gives_values_without_showing_them(reusing: Running, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("a file")
    (tmp_path / "secret").write_text("second-secret")
    words = shlex.split(
        "assign cli --env HOOK='cat /run/project/secrets/T' --secret T --secret-file U=secret --files files"
    )
    url = {"ORCHESTRATOR_URL": f"http://localhost:{reusing.ports.api}", "T": "first-secret"}
    done = orchestrator(*words, cwd=tmp_path, env=url)
    assert done.returncode == 0, done.stderr
    assert "first-secret" not in done.stdout + done.stderr
    own = machine(reusing, "cli")
    assert inside(own, f"cd {DIRECTORY}; cat secrets/T secrets/U files/a.txt").out == "first-secretsecond-secreta file"
    reusing.release("cli")


def test_busybox_unpacks_what_was_meant(example_image: str) -> None:
    """Long names, names that are not ASCII, links: as GNU tar does (`test_late_archive`)."""
    files = {f"{'long-' * 40}/{'name-' * 20}": b"long", "na\u00efve/\u6587\u4ef6.txt": b"not ASCII", "empty": b""}
    archive = late_archive(LateValues({"A": "b"}, {"s": "secret"}, a_tar(files)), (1000, 1000), 1_700_000_000)
    show = 'find . -type f | sort | while read -r f; do echo "$f $(cat "$f")"; done'
    unpack = f"mkdir /there && cd /there && tar -x -p -f - && {show}"
    words = ["docker", "run", "--rm", "-i", "--entrypoint", "/bin/busybox", example_image, "sh", "-c", unpack]
    done = subprocess.run(words, input=archive, capture_output=True, check=True)
    expected = {f"./files/{name} {content.decode()}" for name, content in files.items()}
    found = set(done.stdout.decode().splitlines())
    assert expected <= found
    assert "./secrets/s secret" in found
