"""Questions about commands, logs and files of a running pod, over WebSocket as the API server offers them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import secrets
import tarfile
import time
from typing import Any, Final

from tests.kubernetes_facts.asked import question
from tests.kubernetes_facts.cluster import Cluster, pod
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection

_CHANNELS: Final = {0: "stdin", 1: "stdout", 2: "stderr", 3: "error"}
_V4, _V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"


def _running(cluster: Cluster, place: str) -> str:
    """Returns: the path of a pod that runs."""
    cluster.ask("POST", f"{place}/pods", pod("one", cluster.image))
    cluster.ready(place, "one")
    return f"{place}/pods/one"


def _exec(
    cluster: Cluster, path: str, command: list[str], *, send: bytes = b"", protocol: str = _V4, close: bool = False
) -> tuple[dict[int, bytes], list[int], float | None]:
    """Run a command.

    Returns: what each channel had; the channels in order; seconds until the end, or None if it did not end in 5 s.
    """
    query = {"command": command, "stdout": "true", "stderr": "true", **({"stdin": "true"} if send else {})}
    found: dict[int, bytes] = {}
    order: list[int] = []
    with cluster.websocket(f"{path}/exec", [protocol], **query) as link:
        for start in range(0, len(send), 30_000):
            link.send(b"\x00" + send[start : start + 30_000])
        if close:
            link.send(b"\xff\x00")
        began = time.monotonic()
        try:
            while True:
                message = link.recv(timeout=5)
                data = message if isinstance(message, bytes) else message.encode()
                if data:
                    found[data[0]] = found.get(data[0], b"") + data[1:]
                    order.append(data[0])
        except ConnectionClosed:
            return found, order, time.monotonic() - began
        except TimeoutError:
            return found, order, None


def _shown(found: dict[int, bytes]) -> str:
    return "; ".join(
        f"{number} {_CHANNELS[number]} `{data.decode().strip()}`" for number, data in sorted(found.items())
    )


def _refusal(error: InvalidHandshake) -> str:
    response: Any = getattr(error, "response", None)
    if response is None:
        return f"refused: {error}"
    words = (response.body or b"").decode("utf-8", "replace").strip()
    return f"{response.status_code} “{words}”"


@question("A command over WebSocket, `v4.channel.k8s.io`, that ends with 3", "nodes")
def exec_v4(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        path = _running(cluster, place)
        found, _, _ = _exec(cluster, path, ["sh", "-c", "echo out; echo err >&2; exit 3"])
        status = json.loads(found.pop(3))
        code = next(cause for cause in status["details"]["causes"] if cause["reason"] == "ExitCode")
        return (
            f"channels: {_shown(found)}; 3 error: `{status['status']}`, `{status['reason']}`, “{status['message']}”, "
            f"`details.causes[] = {json.dumps(code)}`"
        )


@question("One that ends with 0: channel 3", "nodes")
def exec_v4_success(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        found, order, _ = _exec(cluster, _running(cluster, place), ["sh", "-c", "exit 0"])
        empty = [number for number in (1, 2) if found.get(number) == b""]
        return (
            f"`{found[3].decode().strip()}`; empty messages come first on channels {empty or 'none'} (order: {order})"
        )


@question("A program that is not there", "nodes")
def exec_missing(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        try:
            found, _, _ = _exec(cluster, _running(cluster, place), ["/no/such/program"])
        except InvalidHandshake as error:
            return _refusal(error)
        status = json.loads(found[3])
        causes = status.get("details", {}).get("causes", [])
        words = " ".join(status["message"].split())[:200]
        return f"channel 3: `{status.get('reason')}`, “{words}”, causes {json.dumps(causes)}"


@question("A command in a pod that has ended", "nodes")
def exec_ended(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        cluster.ask("POST", f"{place}/pods", pod("one", cluster.image, container={"command": ["sh", "-c", "sleep 2"]}))
        cluster.ready(place, "one")
        time.sleep(5)
        try:
            found, _, _ = _exec(cluster, f"{place}/pods/one", ["sh", "-c", "exit 0"])
        except InvalidHandshake as error:
            return _refusal(error)
        return (
            f"channel 3: `{found.get(3, b'').decode().strip()}`; {_shown({n: d for n, d in found.items() if n != 3})}"
        )


@question("`v5.channel.k8s.io`, which can close stdin", "nodes")
def exec_v5(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        path = _running(cluster, place)
        try:
            found, _, ended = _exec(cluster, path, ["cat"], send=b"in", protocol=_V5, close=True)
        except InvalidHandshake as error:
            return _refusal(error)
        return f"channels: {_shown(found)}; {'it ended' if ended is not None else 'it did not end'}"


@question("A terminal (`tty`): its size, told by a message on channel 4", "nodes")
def exec_terminal(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        path = _running(cluster, place)
        late = _sizes(cluster, path, 0.5)
        early = [_sizes(cluster, path, 0)[0] for _ in range(10)]
        known = sum(size == "30 100" for size in early)
        begins = f"If it is sent at once, the program begins with it {known} times of 10"
        return f"at first {late[0]}, after the message {late[1]}. {begins}"


def _sizes(cluster: Cluster, path: str, wait_s: float) -> list[str]:
    """The size that a program sees as it begins, and a second later."""
    command = ["sh", "-c", "busybox stty size; sleep 1; busybox stty size"]
    query = {"command": command, "stdin": "true", "stdout": "true", "tty": "true"}
    with cluster.websocket(f"{path}/exec", [_V4], **query) as link:
        time.sleep(wait_s)
        link.send(b'\x04{"Width": 100, "Height": 30}')
        lines = b"".join(_messages(link, 1)).decode().splitlines()
    return ["none" if line.startswith("stty:") else line for line in lines]


def _messages(link: ClientConnection, channel: int) -> list[bytes]:
    found = []
    with contextlib.suppress(ConnectionClosed, TimeoutError):
        while True:
            message = link.recv(timeout=10)
            data = message if isinstance(message, bytes) else message.encode()
            if data[:1] == bytes([channel]):
                found.append(data[1:])
    return found


@question("The client hangs up: its command in the pod", "nodes")
def exec_hang_up(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        path = _running(cluster, place)
        with cluster.websocket(f"{path}/exec", [_V4], command=["sleep", "777"], stdout="true", stderr="true"):
            time.sleep(1)
        time.sleep(3)
        script = "for c in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$c; echo; done"
        found, _, _ = _exec(cluster, path, ["busybox", "sh", "-c", script.replace("tr ", "busybox tr ")])
        return "goes on" if b"sleep 777" in found.get(1, b"") else "is ended"


@question("Files in by `tar -x` (5 MB, v4: stdin cannot be closed)", "nodes")
def tar_in(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        path, data, archive = _running(cluster, place), secrets.token_bytes(5_000_000), io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            member = tarfile.TarInfo("data")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        _, _, ended = _exec(cluster, path, ["busybox", "tar", "-x", "-C", "/tmp", "-f", "-"], send=archive.getvalue())
        found, _, _ = _exec(cluster, path, ["busybox", "sha256sum", "/tmp/data"])
        whole = found.get(1, b"").decode().startswith(hashlib.sha256(data).hexdigest())
        end = "tar ends at the end of the archive" if ended is not None else "tar does not end without the end of stdin"
        return f"{'whole' if whole else 'not whole: ' + _shown(found)}; {end}"


@question("Files out by `tar -c` (5 MB)", "nodes")
def tar_out(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        path, script = (
            _running(cluster, place),
            "busybox dd if=/dev/urandom of=/tmp/data bs=1000000 count=5 2>/dev/null",
        )
        _exec(cluster, path, ["sh", "-c", script])
        sums = _exec(cluster, path, ["busybox", "sha256sum", "/tmp/data"])[0][1].decode().split()[0]
        whole = 0
        for _ in range(5):
            found, _, _ = _exec(cluster, path, ["busybox", "tar", "-c", "-C", "/tmp", "-f", "-", "data"])
            with tarfile.open(fileobj=io.BytesIO(found[1])) as tar:
                member = tar.extractfile("data")
                whole += hashlib.sha256(member.read() if member else b"").hexdigest() == sums
        return f"whole in {whole} of 5"


@question("Logs, followed", "nodes")
def logs_follow(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        script = "for i in 1 2 3; do echo line $i; sleep 1; done; sleep 3600"
        cluster.ask("POST", f"{place}/pods", pod("one", cluster.image, container={"command": ["sh", "-c", script]}))
        path = f"{place}/pods/one"
        early = cluster.ask("GET", f"{path}/log")
        cluster.ready(place, "one")
        began, times, deleted = time.monotonic(), [], 0.0
        for after, _, line in cluster.lines(f"{path}/log", seconds=30, follow="true", timestamps="true"):
            if "line" in line:
                times.append(after)
            if len(times) == 3 and not deleted:
                cluster.ask("DELETE", path)
                deleted = time.monotonic() - began
        ended = time.monotonic() - began - deleted
        live = "each line as it is written" if times[-1] - times[0] > 0.5 else "the lines together"
        return f"{live}; the stream ends with the container. Before it is there: {early}" + (
            "" if ended < 20 else f" (the stream ended {ended:.0f} s after the delete)"
        )


@question("Logs of a container that has ended, and of a pod that is gone", "nodes")
def logs_ended(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        command = ["sh", "-c", "echo out; echo err >&2; sleep 1; exit 3"]
        cluster.ask("POST", f"{place}/pods", pod("one", cluster.image, container={"command": command}))
        cluster.ready(place, "one")
        time.sleep(4)
        kept = cluster.ask("GET", f"{place}/pods/one/log")
        cluster.ask("DELETE", f"{place}/pods/one", gracePeriodSeconds="0")
        gone = cluster.ask("GET", f"{place}/pods/one/log")
        return f"{kept.status} `{' '.join(sorted(str(kept.body).split()))}` (both streams, unmarked); then {gone}"
