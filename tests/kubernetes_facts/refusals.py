"""Questions about what a server says to whom it does not serve: an old token, too many requests; and what it collects."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tests.kubernetes_facts.asked import question
from tests.kubernetes_facts.cluster import Cluster, Reply, pod, until

_COLLECTED_S: Final = 90.0


@question("A token that is none")
def token_wrong(cluster: Cluster) -> str:
    return str(_as(cluster, "not-a-token", "/api/v1/namespaces"))


def _as(cluster: Cluster, token: str, path: str) -> Reply:
    return cluster.ask("GET", path, headers={"Authorization": f"Bearer {token}"})


@question("A service account's token, after the account was removed")
def token_revoked(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        cluster.ask("POST", f"{place}/serviceaccounts", {"metadata": {"name": "one"}})
        made = cluster.ask("POST", f"{place}/serviceaccounts/one/token", {"spec": {"expirationSeconds": 600}})
        if made.status != 201:
            return str(made)
        token = made.body["status"]["token"]
        before = _as(cluster, token, f"{place}/pods")
        cluster.ask("DELETE", f"{place}/serviceaccounts/one")
        after = until(lambda: _as(cluster, token, f"{place}/pods").status == 401, 60)
        said = _as(cluster, token, f"{place}/pods")
        return f"{before.status} before (no rights), then after {_seconds(after)} {said}"


def _seconds(after: float | None) -> str:
    return "never" if after is None else f"{after:.0f} s"


@question("A watch whose token was revoked meanwhile")
def token_watch(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        rights = place.replace("/api/v1", "/apis/rbac.authorization.k8s.io/v1")
        namespace = place.rpartition("/")[2]
        cluster.ask("POST", f"{place}/serviceaccounts", {"metadata": {"name": "one"}})
        subject = {"kind": "ServiceAccount", "name": "one", "namespace": namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
        binding = {"metadata": {"name": "one"}, "subjects": [subject], "roleRef": role}
        cluster.ask("POST", f"{rights}/rolebindings", binding)
        made = cluster.ask("POST", f"{place}/serviceaccounts/one/token", {"spec": {"expirationSeconds": 600}})
        token = made.body["status"]["token"]
        until(lambda: _as(cluster, token, f"{place}/configmaps").status == 200, 10)
        headers = {"Authorization": f"Bearer {token}"}
        with ThreadPoolExecutor(1) as beside:
            watch = beside.submit(
                cluster.ask, "GET", f"{place}/configmaps", headers=headers, watch="1", timeoutSeconds="30"
            )
            time.sleep(1)
            cluster.ask("DELETE", f"{place}/serviceaccounts/one")
            until(lambda: _as(cluster, token, f"{place}/configmaps").status == 401, 60)
            cluster.ask("POST", f"{place}/configmaps", {"metadata": {"name": "later"}})
            told = "later" in str(watch.result().body)
        return f"goes on until its `timeoutSeconds`, and is told {'what happens later' if told else 'nothing more'}"


@contextlib.contextmanager
def _narrow(cluster: Cluster) -> Iterator[dict[str, str]]:
    """Headers of a user for whom the server has no room: a flow of its own whose level rejects what does not fit."""
    group = "/apis/flowcontrol.apiserver.k8s.io"
    version = cluster.ask("GET", group).body["preferredVersion"]["version"]
    place = f"{group}/{version}"
    shares = {"assuredConcurrencyShares": 1} if version in {"v1beta1", "v1beta2"} else {"nominalConcurrencyShares": 0}
    limited = {**shares, "limitResponse": {"type": "Reject"}}
    subjects = [{"kind": "User", "user": {"name": "crowd"}}]
    rules = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}]
    flow = {
        "matchingPrecedence": 2,
        "priorityLevelConfiguration": {"name": "facts"},
        "rules": [{"subjects": subjects, "resourceRules": rules}],
    }
    for kind, spec in (("prioritylevelconfigurations", {"type": "Limited", "limited": limited}), ("flowschemas", flow)):
        made = cluster.ask("POST", f"{place}/{kind}", {"metadata": {"name": "facts"}, "spec": spec})
        assert made.status in {201, 409}, made
    try:
        yield {"Impersonate-User": "crowd"}
    finally:
        for kind in ("flowschemas", "prioritylevelconfigurations"):
            cluster.ask("DELETE", f"{place}/{kind}/facts")


@question("Too many requests (a priority level without room)")
def too_many(cluster: Cluster) -> str:
    with _narrow(cluster) as headers, ThreadPoolExecutor(40) as crowd:

        def refused() -> Reply | None:
            replies = crowd.map(lambda _: cluster.ask("GET", "/api/v1/pods", headers=headers), range(80))
            return next((reply for reply in replies if reply.status == 429), None)

        ends = time.monotonic() + 60
        while (said := refused()) is None and time.monotonic() < ends:
            pass
        if said is None:
            return "never seen"
        body = said.body
        words = body if isinstance(body, str) else body.get("message", body)
        kind = said.headers.get("content-type")
        return f"429, `Retry-After: {said.headers.get('retry-after')}`, `{kind}`: “{str(words).strip()}”"


@question("An eviction of a pod that does not run yet, with a PodDisruptionBudget that allows none")
def eviction_refused(cluster: Cluster) -> str:
    version = "v1" if cluster.ask("GET", "/apis/policy/v1").status == 200 else "v1beta1"
    with cluster.namespace() as place:
        budgets = place.replace("/api/v1", f"/apis/policy/{version}") + "/poddisruptionbudgets"
        body = pod("one", cluster.image, nodeSelector={"no": "node"})
        body["metadata"]["labels"] = {"a": "1"}
        cluster.ask("POST", f"{place}/pods", body)
        spec = {"minAvailable": 1, "selector": {"matchLabels": {"a": "1"}}}
        cluster.ask("POST", budgets, {"metadata": {"name": "b"}, "spec": spec})
        until(lambda: "observedGeneration" in cluster.ask("GET", f"{budgets}/b").body.get("status", {}), 20)
        pending = cluster.ask("POST", f"{place}/pods/one/eviction", {"metadata": {"name": "one"}})
        return str(pending)


@question("An eviction of a running pod that a PodDisruptionBudget forbids", "nodes")
def eviction_refused_running(cluster: Cluster) -> str:
    version = "v1" if cluster.ask("GET", "/apis/policy/v1").status == 200 else "v1beta1"
    with cluster.namespace() as place:
        budgets = place.replace("/api/v1", f"/apis/policy/{version}") + "/poddisruptionbudgets"
        body = pod("one", cluster.image)
        body["metadata"]["labels"] = {"a": "1"}
        cluster.ask("POST", f"{place}/pods", body)
        cluster.ready(place, "one")
        spec = {"minAvailable": 1, "selector": {"matchLabels": {"a": "1"}}}
        cluster.ask("POST", budgets, {"metadata": {"name": "b"}, "spec": spec})
        until(lambda: "observedGeneration" in cluster.ask("GET", f"{budgets}/b").body.get("status", {}), 20)
        said = cluster.ask("POST", f"{place}/pods/one/eviction", {"metadata": {"name": "one"}})
        return f"{said}; `Retry-After: {said.headers.get('retry-after')}`"


def _collected(cluster: Cluster, *, owner_elsewhere: bool) -> str:
    with cluster.namespace() as place, cluster.namespace() as other:
        owner = cluster.ask("POST", f"{other}/configmaps", {"metadata": {"name": "owner"}}).body["metadata"]
        uid = owner["uid"] if owner_elsewhere else "00000000-0000-0000-0000-000000000000"
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
        path = place.replace("/api/v1", "/apis/coordination.k8s.io/v1") + "/leases"
        made = cluster.ask("POST", path, {"metadata": {"name": "one", "ownerReferences": [reference]}})
        if made.status != 201:
            return str(made)
        after = until(lambda: cluster.ask("GET", f"{path}/one").status == 404, _COLLECTED_S)
        events = cluster.ask("GET", f"{place}/events").body["items"]
        told = sorted(
            {
                f"{event['reason']}: “{event['message'].replace(str(uid), 'UID')}”"
                for event in events
                if event.get("involvedObject", {}).get("kind") == "Lease"
            }
        )
        gone = (
            f"taken at first, removed after {after:.1f} s"
            if after is not None
            else f"kept for {_COLLECTED_S:.0f} s and more"
        )
        return f"{gone}{f'; event {told[0]}' if told else ''}".replace(place.rpartition("/")[2], "NAMESPACE")


@question("A Lease whose owner is in another namespace")
def owner_elsewhere(cluster: Cluster) -> str:
    return _collected(cluster, owner_elsewhere=True)


@question("A Lease whose owner does not exist")
def owner_missing(cluster: Cluster) -> str:
    return _collected(cluster, owner_elsewhere=False)
