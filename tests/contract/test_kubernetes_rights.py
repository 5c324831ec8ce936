"""The service account of the chart tries every verb on every resource of a real API server: it may do what it needs.

And nothing else. It takes no node. `tests/unit/deploy/test_rights.py` has what the engine needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec
import pytest
import yaml
from tests.contract.conftest import cluster_world
from tests.contract.kubernetes_world import KubernetesWorld
from tests.integration.waiting import PortBlock
from tests.unit.deploy.test_rights import ROLES, given

from worker_orchestrator.engines.kubernetes.calls import Refusal
from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.credentials import Unchanging
from worker_orchestrator.engines.kubernetes.kubeconfig import find_access

pytestmark = pytest.mark.cluster

ROLE: Final = ROLES[0]
ACCOUNT: Final = "worker-orchestrator"
NONE_SUCH: Final = "no-such-thing"
METRICS: Final = "metrics.k8s.io"
EVERYBODY: Final = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"}
"""About whom anybody may ask for himself (the ClusterRole system:basic-user)."""
_AT_ONCE: Final = 16
_VERBS: Final = {"get": "GET", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
_OF_ALL: Final = {"list": "GET", "watch": "GET", "create": "POST", "deletecollection": "DELETE"}


class Resource(NamedTuple):
    """One that the server has, such as `pods` or `pods/log`. `base`: `/api/v1` or that of its group."""

    base: str
    name: str
    is_namespaced: bool

    @property
    def full_name(self) -> str:
        """As `given` names it."""
        group = self.base.split("/")[2] if self.base.startswith("/apis/") else ""
        return f"{self.name}.{group}" if group else self.name

    def attempts(self, namespace: str, name: str = NONE_SUCH) -> Iterator[tuple[str, str, str]]:
        """Verb, method and path of each thing that can be done with it in this namespace."""
        kind, _, part = self.name.partition("/")
        all_of_it = f"{self.base}/namespaces/{namespace}/{kind}" if self.is_namespaced else f"{self.base}/{kind}"
        one_of_it = "/".join(filter(None, (all_of_it, name, part)))
        yield from ((verb, method, one_of_it) for verb, method in _VERBS.items())
        if part:
            yield "create", "POST", one_of_it
        else:
            yield from ((verb, method, all_of_it) for verb, method in _OF_ALL.items())


@pytest.fixture
def cluster(runner: asyncio.Runner, ports: PortBlock) -> Iterator[KubernetesWorld]:
    yield from cluster_world(runner, ports)


@asynccontextmanager
async def the_service(cluster: KubernetesWorld) -> AsyncIterator[Client]:
    """Its account with the role of the chart, by a token as pods get it."""
    space, rbac = f"/namespaces/{cluster.namespace}", "/apis/rbac.authorization.k8s.io/v1"
    role = yaml.safe_load(ROLE.read_text("utf-8"))
    await cluster.call("POST", f"/api/v1{space}/serviceaccounts", {"metadata": {"name": ACCOUNT}})
    await cluster.call("POST", f"{rbac}{space}/roles", role)
    binding = yaml.safe_load(ROLE.with_name("rolebinding.yaml").read_text("utf-8"))
    binding["subjects"][0]["namespace"] = cluster.namespace
    await cluster.call("POST", f"{rbac}{space}/rolebindings", binding)
    path = f"/api/v1{space}/serviceaccounts/{ACCOUNT}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    token = (await cluster.call("POST", path, asked))["status"]["token"]
    access = find_access(namespace=cluster.namespace)
    client = Client(replace(access, credentials=Unchanging(f"Bearer {token}")))
    try:
        yield client
    finally:
        await client.aclose()


async def resources(cluster: KubernetesWorld) -> list[Resource]:
    """All that the server has, in each version of each group."""
    groups = (await cluster.call("GET", "/apis"))["groups"]
    versions = [each["groupVersion"] for group in groups for each in group["versions"]]
    found = list[Resource]()
    for base in ("/api/v1", *(f"/apis/{version}" for version in versions)):
        with suppress(Refusal):  # an aggregated server that is away
            every = (await cluster.call("GET", base))["resources"]
            found += [Resource(base, each["name"], each["namespaced"]) for each in every]
    return found


async def may(client: Client, verb: str, method: str, path: str) -> bool:
    """Whether the server would have done it: it looks for the right before all else."""
    params = [("watch", "1"), ("timeoutSeconds", "1")] if verb == "watch" else []
    try:
        await client.call(method, path, params, None if method == "GET" else {})
    except Refusal as error:
        return error.status != HTTPStatus.FORBIDDEN
    except msgspec.DecodeError:  # lines of a watch
        return True
    return True


async def allowed(client: Client, attempts: list[tuple[str, tuple[str, str, str]]]) -> set[tuple[str, str]]:
    """The resources and verbs of these for which there is a right."""
    gate, found = asyncio.Semaphore(_AT_ONCE), set[tuple[str, str]]()

    async def attempt(resource: str, verb: str, method: str, path: str) -> None:
        async with gate:
            if await may(client, verb, method, path):
                found.add((resource, verb))

    await asyncio.gather(*(attempt(resource, *how) for resource, how in attempts))
    return found


async def test_the_service_account_can_do_what_the_role_says_and_nothing_else(cluster: KubernetesWorld) -> None:
    """By trying: every verb on every resource of its namespace, of others, and of the cluster."""
    every = [one for one in await resources(cluster) if not one.full_name.endswith(METRICS)]
    assert len(every) > 50, every
    inside: list[Any] = [
        (one.full_name, how) for one in every if one.is_namespaced for how in one.attempts(cluster.namespace)
    ]
    own_entry = Resource("/api/v1", "namespaces", is_namespaced=False)
    by_name = [how for how in own_entry.attempts("", cluster.namespace) if how[0] in _VERBS]
    measured = Resource(f"/apis/{METRICS}/v1beta1", "pods", is_namespaced=True)
    inside += [("namespaces", how) for how in by_name]
    inside += [(measured.full_name, how) for how in measured.attempts(cluster.namespace)]
    outside = [(one.full_name, how) for one in every for how in one.attempts("default")]
    async with the_service(cluster) as client:
        await until_known(client)
        assert await allowed(client, inside) == given(ROLE)
        beyond = await allowed(client, outside)
    assert {resource.partition(".")[0] for resource, _ in beyond} <= EVERYBODY, beyond
    assert {verb for _, verb in beyond} <= {"create"}


async def until_known(client: Client) -> None:
    """The server has heard of a new role after a moment."""
    async with asyncio.timeout(10):
        while not await may(client, "list", "GET", client.pods()):  # noqa: ASYNC110 # nothing tells of it
            await asyncio.sleep(0.05)
