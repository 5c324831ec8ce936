"""Questions about what is written: versions, preconditions, names, fields, quota. No node is needed."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from tests.kubernetes_facts.asked import question
from tests.kubernetes_facts.cluster import MERGE, Cluster, Reply, pod, until

_NOWHERE: Final = {"nodeSelector": {"no": "node"}}
"""A pod that is not scheduled anywhere."""


def _made(cluster: Cluster, place: str, name: str, **metadata: Any) -> dict[str, Any]:
    body = pod(name, cluster.image, **_NOWHERE)
    body["metadata"] |= metadata
    made = cluster.ask("POST", f"{place}/pods", body)
    assert made.status == 201, made
    return dict(made.body["metadata"])


def _leases(place: str) -> str:
    return place.replace("/api/v1", "/apis/coordination.k8s.io/v1") + "/leases"


def _patch(cluster: Cluster, path: str, **metadata: Any) -> Reply:
    return cluster.ask("PATCH", path, {"metadata": metadata}, kind=MERGE)


@question("A merge patch with an old `resourceVersion`")
def patch_old_version(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        old = _made(cluster, place, "one")["resourceVersion"]
        path = f"{place}/pods/one"
        _patch(cluster, path, labels={"a": "1"})
        refused = _patch(cluster, path, resourceVersion=old, labels={"a": "2"})
        return str(refused)


@question("The same, where the patch would change nothing")
def patch_old_version_same(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        old = _made(cluster, place, "one")["resourceVersion"]
        path = f"{place}/pods/one"
        new = _patch(cluster, path, labels={"a": "1"}).body["metadata"]["resourceVersion"]
        reply = _patch(cluster, path, resourceVersion=old, labels={"a": "1"})
        if reply.status >= 400:
            return str(reply)
        return f"{reply.status}; the version stays: {reply.body['metadata']['resourceVersion'] == new}"


@question("A merge patch with the right version that changes nothing")
def patch_nothing(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        _made(cluster, place, "one", labels={"a": "1"})
        path = f"{place}/pods/one"
        new = cluster.ask("GET", path).body["metadata"]["resourceVersion"]
        reply = _patch(cluster, path, resourceVersion=new, labels={"a": "1"})
        same = reply.body["metadata"]["resourceVersion"] == new
        return f"{reply.status}, and the version {'stays' if same else 'moves'}"


@question("A merge patch whose `resourceVersion` is null, empty or 0: of a pod; of a Lease")
def patch_no_version(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        _made(cluster, place, "one")
        leases = _leases(place)
        cluster.ask("POST", leases, {"metadata": {"name": "one"}})
        said = []
        for path in (f"{place}/pods/one", f"{leases}/one"):
            replies = [
                _patch(cluster, path, resourceVersion=version, labels={"a": str(number)})
                for number, version in enumerate((None, "", "0"))
            ]
            words = list(dict.fromkeys(map(str, replies)))
            said.append(f"{words[0]} each time" if len(words) == 1 else ", ".join(words))
        return f"pod: {said[0]}{', nothing is compared' if said[0].startswith('200') else ''}; Lease: {said[1]}"


@question("A merge patch whose `resourceVersion` is no number (`abc`)")
def patch_bad_version(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        _made(cluster, place, "one")
        return str(_patch(cluster, f"{place}/pods/one", resourceVersion="abc", labels={"a": "1"}))


@question("A merge patch with another `uid`")
def patch_wrong_uid(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        uid = _made(cluster, place, "one")["uid"]
        other = "00000000-0000-0000-0000-000000000000"
        reply = _patch(cluster, f"{place}/pods/one", uid=other, labels={"a": "2"})
        return str(reply).replace(uid, "UID").replace(other, "OTHER")


@question("A merge patch of what is gone")
def patch_gone(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        return str(_patch(cluster, f"{place}/pods/one", labels={"a": "2"}))


@question("Create while the name is terminating")
def create_terminating(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        _made(cluster, place, "one", finalizers=["example.org/hold"])
        cluster.ask("DELETE", f"{place}/pods/one")
        return str(cluster.ask("POST", f"{place}/pods", pod("one", cluster.image)))


@question("Create while the name is taken")
def create_taken(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        _made(cluster, place, "one")
        return str(cluster.ask("POST", f"{place}/pods", pod("one", cluster.image)))


@question("Delete with another `uid`")
def delete_wrong_uid(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        uid = _made(cluster, place, "one")["uid"]
        other = "00000000-0000-0000-0000-000000000000"
        reply = cluster.ask("DELETE", f"{place}/pods/one", {"preconditions": {"uid": other}})
        return str(reply).replace(uid, "UID").replace(other, "OTHER")


@question("Delete with an old `resourceVersion`")
def delete_old_version(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        old = _made(cluster, place, "one")["resourceVersion"]
        new = _patch(cluster, f"{place}/pods/one", labels={"a": "1"}).body["metadata"]["resourceVersion"]
        reply = cluster.ask("DELETE", f"{place}/pods/one", {"preconditions": {"resourceVersion": old}})
        return str(reply).replace(old, "OLD").replace(new, "NEW")


@question("Delete with a misspelt precondition (`precondition: {uid: …}`), and the wrong `uid` in it")
def delete_misspelt(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        said, strict = [], {"fieldValidation": "Strict"}
        for query in list[dict[str, Any]]([{}, strict]):
            _made(cluster, place, "one")
            reply = cluster.ask("DELETE", f"{place}/pods/one", {"precondition": {"uid": "other"}}, **query)
            warned = reply.headers.get("warning")
            gone = cluster.ask("GET", f"{place}/pods/one").status == 404
            said.append(f"{reply}{', it is gone' if gone else ''}{f', `Warning: {warned}`' if warned else ''}")
            cluster.ask("DELETE", f"{place}/pods/one")
        return f"{said[0]}; with `fieldValidation=Strict`: {said[1]}"


@question("Both again, of a pod that is terminating already, with `gracePeriodSeconds: 0`")
def delete_terminating(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        body = pod("one", cluster.image, nodeName="nowhere", terminationGracePeriodSeconds=30)
        old = cluster.ask("POST", f"{place}/pods", body).body["metadata"]["resourceVersion"]
        cluster.ask("DELETE", f"{place}/pods/one")
        said = []
        for condition in ({"uid": "other"}, {"resourceVersion": old}):
            forced = {"gracePeriodSeconds": 0, "preconditions": condition}
            said.append(str(cluster.ask("DELETE", f"{place}/pods/one", forced).status))
        return f"{said[0]}; {said[1]}; the pod: {cluster.ask('GET', f'{place}/pods/one').status}"


@question("Delete with `gracePeriodSeconds=0` and a finalizer")
def delete_finalizer(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        _made(cluster, place, "one", finalizers=["example.org/hold"])
        path = f"{place}/pods/one"
        deleted = cluster.ask("DELETE", path, gracePeriodSeconds="0")
        metadata = cluster.ask("GET", path).body["metadata"]
        patched = _patch(cluster, path, labels={"a": "1"})
        freed = _patch(cluster, path, finalizers=None)
        return (
            f"{deleted.status} with the pod; it stays, with `deletionTimestamp` and `deletionGracePeriodSeconds: "
            f"{metadata.get('deletionGracePeriodSeconds')}`. A patch meanwhile: {patched.status}. The patch that takes the "
            f"finalizer away: {freed.status}, then {cluster.ask('GET', path).status}"
        )


@question("Delete with 30 s of grace, of a pod that is on a node: `deletionTimestamp`")
def delete_grace(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        body = pod("one", cluster.image, nodeName="nowhere", terminationGracePeriodSeconds=30)
        cluster.ask("POST", f"{place}/pods", body)
        path = f"{place}/pods/one"
        deleted = cluster.ask("DELETE", path)
        first = deleted.body["metadata"]
        now = cluster.ask("DELETE", path, gracePeriodSeconds="5").body["metadata"]
        longer = cluster.ask("DELETE", path, gracePeriodSeconds="60").body["metadata"]
        last = cluster.ask("DELETE", path, gracePeriodSeconds="0")
        return (
            f"{_ahead(deleted, first)} s in the future. Again with 5 s: shorter "
            f"({now['deletionGracePeriodSeconds']} s). Again with 60 s: {longer['deletionGracePeriodSeconds']} s. "
            f"With 0: {last.status}, then {cluster.ask('GET', path).status}"
        )


def _ahead(reply: Reply, metadata: dict[str, Any]) -> int:
    """How far the time of the end is ahead of the server's own clock."""
    end = datetime.fromisoformat(metadata["deletionTimestamp"])
    return round((end - parsedate_to_datetime(reply.headers["date"])).total_seconds())


@question("A label value of 64 characters (63 is taken)")
def label_64(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        _made(cluster, place, "one", labels={"a": "x" * 63})
        reply = _patch(cluster, f"{place}/pods/one", labels={"a": "x" * 64})
        return str(reply).replace("x" * 64, "xxx…")


@question("A quota that is used up")
def quota(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        cluster.ask("POST", f"{place}/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}})
        until(lambda: "used" in cluster.ask("GET", f"{place}/resourcequotas/q").body.get("status", {}))
        _made(cluster, place, "one")
        return str(cluster.ask("POST", f"{place}/pods", pod("two", cluster.image)))


@question("One create as soon as the quota's only pod is gone")
def quota_freed(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        cluster.ask("POST", f"{place}/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}})
        until(lambda: "used" in cluster.ask("GET", f"{place}/resourcequotas/q").body.get("status", {}))
        _made(cluster, place, "one")
        cluster.ask("DELETE", f"{place}/pods/one", gracePeriodSeconds="0")
        first = cluster.ask("POST", f"{place}/pods", pod("two", cluster.image))
        if first.status == 201:
            return "201"
        after = until(lambda: cluster.ask("POST", f"{place}/pods", pod("two", cluster.image)).status == 201)
        return (
            f"{first.status}; taken {after:.1f} s later" if after is not None else f"{first.status} for 90 s and more"
        )


@question("Twenty creates of one Lease at once")
def leases_at_once(cluster: Cluster) -> str:
    with cluster.namespace() as place, ThreadPoolExecutor(20) as crowd:
        path = _leases(place)
        body = {"metadata": {"name": "one"}, "spec": {"holderIdentity": "a"}}
        replies = list(crowd.map(lambda _: cluster.ask("POST", path, body), range(20)))
        made = sum(reply.status == 201 for reply in replies)
        others = sorted({str(reply) for reply in replies if reply.status != 201})
        return f"{made} is made (201), {20 - made} are refused: {' or '.join(others)}"


@question("Twenty patches of one Lease at once, each with the version that was read")
def lease_patches_at_once(cluster: Cluster) -> str:
    with cluster.namespace() as place, ThreadPoolExecutor(20) as crowd:
        path = _leases(place)
        made = cluster.ask("POST", path, {"metadata": {"name": "one"}, "spec": {"holderIdentity": "a"}})
        version = made.body["metadata"]["resourceVersion"]

        def patch(number: int) -> Reply:
            body = {"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": str(number)}}
            return cluster.ask("PATCH", f"{path}/one", body, kind=MERGE)

        replies = list(crowd.map(patch, range(20)))
        taken = sum(reply.status == 200 for reply in replies)
        others = sorted({str(reply) for reply in replies if reply.status != 200})
        return f"{taken} is written (200), {20 - taken} are refused: {' or '.join(others)}"


@question("`renewTime` of a Lease in whole seconds, with 3, 6 and 9 digits of a second")
def lease_time(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        leases, said = _leases(place), []
        cluster.ask("POST", leases, {"metadata": {"name": "one"}})
        for digits in ("", ".123", ".123456", ".123456789"):
            body = {"spec": {"renewTime": f"2026-01-01T00:00:00{digits}Z"}}
            reply = cluster.ask("PATCH", f"{leases}/one", body, kind=MERGE)
            kept = reply.body["spec"]["renewTime"] if reply.status == 200 else "refused: " + _end(reply.body["message"])
            said.append(f"`{digits or 'none'}`: {reply.status}, {kept}")
        return "; ".join(said)


def _end(message: str) -> str:
    """What is wrong with a time, out of a message that repeats the whole document."""
    found = re.search(r'cannot parse "[^ ]* as "[^"]*"|[^:]*extra text[^,]*', message)
    return f"“{found.group()}”" if found else f"“{message}”"


@question("An unknown field in a body")
def unknown_field(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        body = {**pod("one", cluster.image, **_NOWHERE), "extra": 1}
        reply = cluster.ask("POST", f"{place}/pods", body)
        warned = reply.headers.get("warning")
        kept = "extra" in reply.body
        told = f", and told: `Warning: {warned}`" if warned else " without a word"
        return f"{reply.status}, {'kept' if kept else 'dropped'}{told}"


@question("The same with `fieldValidation=Strict`")
def unknown_field_strict(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        body = {**pod("one", cluster.image, **_NOWHERE), "extra": 1}
        reply = cluster.ask("POST", f"{place}/pods", body, fieldValidation="Strict")
        if reply.status == 201:
            return "201: the parameter is not known, the field is dropped without a word"
        return str(reply)


@question("The same in a merge patch with `fieldValidation=Strict`")
def unknown_field_strict_patch(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        _made(cluster, place, "one")
        body = {"metadata": {"labels": {"a": "1"}}, "extra": 1}
        reply = cluster.ask("PATCH", f"{place}/pods/one", body, kind=MERGE, fieldValidation="Strict")
        if reply.status == 200:
            return "200: the field is dropped without a word, the rest is written"
        return str(reply)
