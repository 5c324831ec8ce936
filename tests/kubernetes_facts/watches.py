"""Questions about reading and watching: old versions, bookmarks, first events. No node is needed."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from tests.kubernetes_facts.asked import question
from tests.kubernetes_facts.cluster import Cluster, Reply, until

_LONGEST_S: Final = 75.0
_NOTHING: Final = "200, and nothing"


def _configmap(cluster: Cluster, place: str, name: str) -> str:
    """Make one.

    Returns: its version.
    """
    made = cluster.ask("POST", f"{place}/configmaps", {"metadata": {"name": name}})
    return str(made.body["metadata"]["resourceVersion"])


def _compacted(cluster: Cluster, revision: str) -> str | None:
    """Compact etcd up to this revision.

    Returns: None, or why it could not be.
    """
    if cluster.etcd is None:
        return "*etcd not reachable*"
    request = urllib.request.Request(  # the URL is the caller's own
        f"{cluster.etcd}/v3/kv/compaction", json.dumps({"revision": revision, "physical": True}).encode()
    )
    with urllib.request.urlopen(request) as reply:
        return None if reply.status == 200 else f"etcd says {reply.status}"


def _first(cluster: Cluster, path: str, seconds: float = 5, **query: str) -> str:
    """What a watch begins with."""
    for _, status, event in cluster.events(path, seconds=seconds, timeoutSeconds="3", **query):
        if status >= 400:
            return str(Reply(status, {}, event))
        if event["type"] == "ERROR":
            said = event["object"]
            return f"{status}, then an ERROR event: {Reply(said['code'], {}, said)}"
        return f"{status}, then {event['type']}"
    return _NOTHING


def _without(text: str, *versions: str) -> str:
    for version in versions:
        text = text.replace(version, "OLD")
    return text


@question("A watch from a version older than the server's own memory of events (a resource that was defined later)")
def watch_long_ago(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        version = _configmap(cluster, place, "one")
        with _defined(cluster) as kind:
            said = _first(cluster, place.replace("/api/v1", f"/apis/{kind}/v1") + "/things", resourceVersion=version)
        before, bracket, _ = said.partition(" (")
        return (f"{before} (NEW)”" if bracket and "too old" in before else said).replace(version, "OLD")


@contextlib.contextmanager
def _defined(cluster: Cluster) -> Iterator[str]:
    """The group of a resource, "things", that has just been defined."""
    group = f"{secrets.token_hex(3)}.example.org"
    versions = [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}]
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": versions}
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    cluster.ask("POST", definitions, {"metadata": {"name": f"things.{group}"}, "spec": spec})
    try:
        assert until(lambda: cluster.ask("GET", f"/apis/{group}/v1/things").status == 200, 30) is not None
        yield group
    finally:
        cluster.ask("DELETE", f"{definitions}/things.{group}")


@question("A watch from a version that etcd has compacted, while the server's own memory has it")
def watch_compacted(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        old = _configmap(cluster, place, "one")
        _configmap(cluster, place, "two")
        return _compacted(cluster, _configmap(cluster, place, "three")) or _first(
            cluster, f"{place}/configmaps", resourceVersion=old
        )


@question("The same of `events`, which the server has no memory of")
def watch_compacted_events(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        old = _configmap(cluster, place, "one")
        _configmap(cluster, place, "two")
        return _compacted(cluster, _configmap(cluster, place, "three")) or _first(
            cluster, f"{place}/events", resourceVersion=old
        )


@question("A list that goes on (`continue`) after the compaction")
def list_compacted(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        _configmap(cluster, place, "one")
        _configmap(cluster, place, "two")
        more = cluster.ask("GET", f"{place}/configmaps", limit="1").body["metadata"]["continue"]
        if trouble := _compacted(cluster, _configmap(cluster, place, "three")):
            return trouble
        return str(cluster.ask("GET", f"{place}/configmaps", **{"limit": "1", "continue": more}))


@question("A list of exactly a version that is compacted")
def list_exact_compacted(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        old = _configmap(cluster, place, "one")
        _configmap(cluster, place, "two")
        if trouble := _compacted(cluster, _configmap(cluster, place, "three")):
            return trouble
        query: dict[str, Any] = {"resourceVersion": old, "resourceVersionMatch": "Exact", "limit": "5"}
        return _without(str(cluster.ask("GET", f"{place}/configmaps", **query)), old)


@question("A watch from a version that is not there yet (as after a backup was restored)")
def watch_future(cluster: Cluster) -> str:
    with cluster.namespace() as place, ThreadPoolExecutor(1) as beside:
        future = str(int(_configmap(cluster, place, "one")) + 1_000_000)
        watch = beside.submit(_first, cluster, f"{place}/configmaps", resourceVersion=future)
        time.sleep(1)
        _configmap(cluster, place, "two")
        said = watch.result().replace(future, "FUTURE")
        return f"{said}: what is made meanwhile is not told" if said == _NOTHING else said


@question("A list not older than a version that is not there yet")
def list_future(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        future = str(int(_configmap(cluster, place, "one")) + 1_000_000)
        began = time.monotonic()
        reply = cluster.ask("GET", f"{place}/configmaps", resourceVersion=future)
        said = (
            f"after {time.monotonic() - began:.0f} s {str(reply).partition(', current: ')[0].replace(future, 'FUTURE')}"
        )
        if reply.status < 400:
            return said
        details = reply.body.get("details", {})
        causes = ", ".join(f"`{cause.get('reason')}`" for cause in details.get("causes", []))
        closed = "”" if said.count("“") > said.count("”") else ""
        return f"{said}{closed} (causes: {causes or 'none'}; `retryAfterSeconds: {details.get('retryAfterSeconds')}`)"


def _bookmarks(cluster: Cluster, place: str, limit: str) -> list[tuple[float, dict[str, Any]]]:
    version = _configmap(cluster, place, f"for-{limit}")
    query = {"resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": limit}
    found = []
    for after, _, event in cluster.events(f"{place}/configmaps", seconds=_LONGEST_S, **query):
        if event["type"] == "BOOKMARK":
            found.append((after, event["object"]))
            if float(limit) > _LONGEST_S:
                break
    return found


@question("The first bookmark of a watch of 10 minutes")
def bookmark_first(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        found = _bookmarks(cluster, place, "600")
        return f"after {found[0][0]:.0f} s" if found else f"none in {_LONGEST_S:.0f} s"


@question("Bookmarks of a watch of 10 s")
def bookmark_last(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        found = _bookmarks(cluster, place, "10")
        return ", ".join(f"after {after:.0f} s" for after, _ in found) or "none"


@question("`sendInitialEvents=true` with `allowWatchBookmarks` and `resourceVersionMatch=NotOlderThan`")
def send_initial_events(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        _configmap(cluster, place, "one")
        query = {"sendInitialEvents": "true", "allowWatchBookmarks": "true", "resourceVersionMatch": "NotOlderThan"}
        told = []
        for after, status, event in cluster.events(f"{place}/configmaps", seconds=5, timeoutSeconds="3", **query):
            if status >= 400:
                return str(Reply(status, {}, event))
            metadata = event["object"]["metadata"]
            ends = metadata.get("annotations", {}).get("k8s.io/initial-events-end")
            told.append(f"{event['type']}{' with `k8s.io/initial-events-end`' if ends else ''} after {after:.1f} s")
            if ends:
                break
        return ", ".join(told) or _NOTHING


@question("`sendInitialEvents=true` without `resourceVersionMatch`")
def send_initial_events_alone(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        _configmap(cluster, place, "one")
        return _first(cluster, f"{place}/configmaps", sendInitialEvents="true", allowWatchBookmarks="true")


@question("An event of a watch, after the write was answered")
def watch_delay(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        version, waits = _configmap(cluster, place, "first"), []
        query = {"resourceVersion": version, "timeoutSeconds": "20"}
        events = cluster.events(f"{place}/configmaps", seconds=5, **query)
        for number in range(20):
            _configmap(cluster, place, f"n{number}")
            began = time.monotonic()
            next(events)
            waits.append(time.monotonic() - began)
        return f"{sorted(waits)[10] * 1000:.1f} ms (median of 20)"
