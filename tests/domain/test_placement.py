from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from throughline.api.inferenceservice import InferenceServiceSpec
from throughline.api.servingpool import ServingPoolSpec
from throughline.domain.manifests.pod import pod_template
from throughline.domain.nodes import (
    Amounts,
    NodeAllocatable,
    PodRequests,
    admits,
    in_pool,
    node_allocatable,
    node_terms,
    pod_requests,
    thousandths,
    usage,
)
from throughline.domain.observed import PoolView
from throughline.domain.placement import PoolChoice, Refusal, capacity_for, choose_pool, replaces
from throughline.domain.replica import admitted_shape, replica_requests

from tests.domain.manifest_cases import IDENTITY, OPTIONS, pool, spec


def view(name: str, capacity: int | None, nodes: int = 1) -> PoolView:
    return PoolView(name, pool(), capacity, nodes)


def pools(**capacities: int | None) -> dict[str, PoolView]:
    return {name: view(name, capacity) for name, capacity in capacities.items()}


def wants(*names: str, minimum: int = 1):
    return spec(placement={"pools": [{"name": n} for n in names]}, scaling={"minReplicas": minimum})


@pytest.mark.parametrize(
    ("listed", "minimum", "existing", "current", "chosen"),
    [
        (["a", "b"], 1, {"a": 5, "b": 5}, "", "a"),
        (["b", "a"], 1, {"a": 5, "b": 5}, "", "b"),
        (["a", "b"], 3, {"a": 2, "b": 3}, "", "b"),
        (["a", "b"], 3, {"a": None, "b": 9}, "", "a"),  # not known counts as can
        (["x", "b"], 1, {"b": 1}, "", "b"),
        (["a", "b"], 1, {"a": 5, "b": 5}, "b", "b"),  # it stays where it is
        (["a", "b"], 3, {"a": 5, "b": 0}, "b", "b"),  # even when that is full
        (["a"], 1, {"a": 5, "b": 5}, "b", "a"),  # no longer listed
        (["a", "b"], 1, {"a": 5}, "b", "a"),  # no longer there
    ],
)
def test_the_pool_chosen(listed: list[str], minimum: int, existing: dict[str, Any], current: str, chosen: str):
    choice = choose_pool(wants(*listed, minimum=minimum), pools(**existing), current)
    assert isinstance(choice, PoolChoice)
    assert choice.pool.name == chosen


@pytest.mark.parametrize(
    ("priced", "minimum", "current", "chosen"),
    [
        ({"a": ("3", 5), "b": ("1", 5), "c": ("2", 5)}, 1, "", "b"),
        ({"a": ("3", 5), "b": ("1", 1), "c": ("2", 5)}, 3, "", "c"),  # of those with room
        ({"a": ("3", 5), "b": ("1", None), "c": ("2", 5)}, 3, "", "b"),  # not known counts as can
        ({"a": ("1", 5), "b": ("1", 5), "c": ("2", 5)}, 1, "", "a"),  # as listed, of equals
        ({"a": ("3", 5), "b": ("1", 5), "c": ("2", 5)}, 1, "a", "a"),  # a move is the control loop's to decide
        ({"a": ("900m", 5), "b": ("1", 5), "c": ("2", 5)}, 1, "", "a"),
    ],
)
def test_the_cheapest_pool_is_begun_with(
    priced: dict[str, tuple[str, int | None]], minimum: int, current: str, chosen: str
):
    views = {name: PoolView(name, pool(costPerHour=cost), room, 1) for name, (cost, room) in priced.items()}
    listed = {"strategy": "Cheapest", "pools": [{"name": n} for n in "abc"]}
    choice = choose_pool(spec(placement=listed, scaling={"minReplicas": minimum}), views, current)
    assert isinstance(choice, PoolChoice)
    assert choice.pool.name == chosen
    assert current or "cheapest listed pool" in choice.why


def test_an_unknown_pool_names_the_field_and_what_exists():
    refusal = choose_pool(wants("gpuu"), pools(gpu=1, cpu=1), "")
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.field) == ("PoolNotFound", "spec.placement.pools")
    assert "gpuu" in refusal.message
    assert "existing pools: cpu, gpu" in refusal.message
    assert "no ServingPool yet" in choose_pool(wants("gpu"), {}, "").message


def test_a_full_pool_names_the_room_and_the_fix():
    refusal = choose_pool(wants("gpu", "edge", minimum=3), {"gpu": view("gpu", 2), "edge": view("edge", 0, 0)}, "")
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "PoolFull"
    for part in ("spec.placement.pools", "3 replicas", "gpu can hold 2", "edge: no node has the labels", "minReplicas"):
        assert part in refusal.message


def node(name: str = "n", **resources: str) -> NodeAllocatable:
    return node_allocatable({"metadata": {"name": name}, "status": {"allocatable": {"pods": "110", **resources}}})


GPU = "nvidia.com/gpu"
CPU_POOL = pool(accelerator=None).model_copy(update={"accelerator": None})


def asks(service: InferenceServiceSpec | None = None, *, on: ServingPoolSpec, digest: str | None = None) -> Amounts:
    """What a replica asks for by its rendered template."""
    return replica_requests(pod_template(IDENTITY, service or spec(), "p", on, OPTIONS, digest=digest)["spec"])


ONE_GPU = {GPU: 1000, "pods": 1000}


def test_capacity_is_counted_node_by_node():
    two_each = pool(accelerator={"countPerReplica": 2})
    nodes = [node("a", **{GPU: "3"}), node("b", **{GPU: "3"})]
    assert capacity_for(two_each, nodes, {}, asks(on=two_each)) == 2, "the odd ones do not add up to a third"


def test_what_others_hold_is_not_free():
    used = usage([PodRequests("a", {GPU: 2000}), PodRequests("a", {GPU: 1000}), PodRequests("", {GPU: 9000})])
    assert used == {"a": {GPU: 3000}}
    assert capacity_for(pool(), [node("a", **{GPU: "4"}), node("b", **{GPU: "1"})], used, ONE_GPU) == 2
    assert capacity_for(pool(), [node("a", **{GPU: "3"})], used, ONE_GPU) == 0


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"requests": {"cpu": "1500m"}}, 2),
        ({"requests": {"memory": "3Gi"}}, 2),
        ({"limits": {"cpu": "4"}}, 1),  # a limit without a request is one
        ({"requests": {"cpu": "1"}, "limits": {"cpu": "4"}}, 4),
        ({"requests": {"cpu": "0"}}, 110),  # pods are what is left to count
        ({}, 110),
    ],
)
def test_the_scarcest_resource_decides(resources: dict[str, Any], expected: int):
    requests = asks(spec(runtime={"resources": resources}), on=CPU_POOL)
    assert capacity_for(CPU_POOL, [node(cpu="4", memory="8Gi")], {}, requests) == expected


def test_a_declared_capacity_replaces_the_count_and_is_shared():
    declared = pool(capacity={"maxReplicas": 7})
    assert capacity_for(declared, None, {}, ONE_GPU) == 7
    assert capacity_for(declared, [node(**{GPU: "100"})], {}, ONE_GPU, replicas_of_others=5) == 2
    assert capacity_for(declared, [], {}, ONE_GPU, replicas_of_others=9) == 0


def test_not_known_is_not_zero():
    assert capacity_for(pool(), None, {}, ONE_GPU) is None
    assert capacity_for(pool(), [], {}, ONE_GPU) == 0


def holding(**pods: int) -> dict[str, Amounts]:
    """What so many replicas hold on each node."""
    return {name: {GPU: 1000 * count, "pods": 1000 * count} for name, count in pods.items()}


A, B = node("a", **{GPU: "4"}), node("b", **{GPU: "4"})
A_REPORTS_NONE, A_LOST_TWO = node("a", **{GPU: "0"}), node("a", **{GPU: "2"})
HELD: dict[str, tuple[list[NodeAllocatable], dict[str, Amounts], dict[str, Amounts], int | None]] = {
    "nothing": ([A, B], {}, {}, 8),
    "some of what is open": ([A, B], {}, holding(a=3), 8),
    "places on a closed node": ([B], {}, holding(a=3), 7),
    "places on closed nodes alone": ([], {}, holding(a=3, b=2), 5),
    "all that is open, with another service": ([A, B], holding(a=2, b=3), holding(a=2, b=1), 3),
    "more than its node reports": ([A_REPORTS_NONE, B], {}, holding(a=3), None),
    "with others more than the node reports": ([A_REPORTS_NONE, B], holding(a=1), holding(b=3), None),
    "no more than a node that lost devices reports": ([A_LOST_TWO, B], holding(a=1), holding(a=1), 5),
    "more than a node that lost devices reports": ([A_LOST_TWO, B], {}, holding(a=3), None),
    "more than a closed node reports": ([B], holding(a=4), holding(a=3), 7),
}


@pytest.mark.parametrize(("nodes", "others", "held", "expected"), HELD.values(), ids=HELD.keys())
def test_what_a_service_holds_is_part_of_what_the_pool_can_hold(
    nodes: list[NodeAllocatable], others: dict[str, Amounts], held: dict[str, Amounts], expected: int | None
):
    assert capacity_for(pool(), nodes, others, ONE_GPU, held=held) == expected


def test_a_declared_capacity_is_not_less_than_what_is_held():
    declared = pool(capacity={"maxReplicas": 4})
    assert capacity_for(declared, [], {}, ONE_GPU, held=holding(a=3), replicas_of_others=2) == 3


@pytest.mark.parametrize(
    ("nodes", "others", "requests", "expected"),
    [
        ([A], {}, ONE_GPU, True),
        ([A], holding(a=4), ONE_GPU, False),  # what the service holds is elsewhere
        ([], {}, ONE_GPU, False),
        ([A], {}, {**ONE_GPU, GPU: 9000}, False),  # a replica asks for more than before
    ],
)
def test_whether_a_replica_that_leaves_makes_room(
    nodes: list[NodeAllocatable], others: dict[str, Amounts], requests: Amounts, expected: bool
):
    assert replaces(nodes, others, requests) is expected


@given(free=st.lists(st.integers(0, 9), max_size=5), used=st.integers(0, 9), each=st.integers(1, 4))
def test_as_many_fit_as_can_be_packed(free: list[int], used: int, each: int):
    nodes = [node(str(i), **{GPU: str(units)}) for i, units in enumerate(free)]
    held = {"0": {GPU: used * 1000}}
    expected: int | None = 0
    for i, units in enumerate(free):
        left = units - (used if i == 0 else 0)
        if left < 0:
            expected = None
            break
        while left >= each:
            left, expected = left - each, expected + 1
    wide = pool(accelerator={"countPerReplica": each})
    assert capacity_for(wide, nodes, held, asks(on=wide)) == expected


def container(restart: str | None = None, **requests: str) -> dict[str, Any]:
    return {"resources": {"requests": requests}, **({"restartPolicy": restart} if restart else {})}


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        ({"containers": [container(cpu="1"), container(cpu="500m", memory="1Ki")]}, {"cpu": 1500, "memory": 1_024_000}),
        ({"containers": [container(cpu="1")], "initContainers": [container(cpu="3")]}, {"cpu": 3000}),
        ({"containers": [container(cpu="2")], "initContainers": [container("Always", cpu="1")]}, {"cpu": 3000}),
        (
            {"containers": [container(cpu="1")], "initContainers": [container("Always", cpu="1"), container(cpu="3")]},
            {"cpu": 4000},
        ),
        ({"containers": [container(cpu="1")], "overhead": {"cpu": "250m"}}, {"cpu": 1250}),
        ({"containers": [{}]}, {}),
    ],
)
def test_a_pod_is_counted_as_the_scheduler_counts(pod: dict[str, Any], expected: dict[str, int]):
    found = pod_requests({"spec": {"nodeName": "n", **pod}, "status": {"phase": "Running"}})
    assert found == PodRequests("n", {**expected, "pods": 1000})


def test_a_pod_that_has_ended_holds_nothing():
    for phase in ("Succeeded", "Failed"):
        ended = {"spec": {"nodeName": "n", "containers": [container(cpu="1")]}, "status": {"phase": phase}}
        assert pod_requests(ended).requests == {}


def test_a_replica_asks_for_what_its_template_says():
    amounts = asks(spec(runtime={"resources": {"limits": {"cpu": "2"}}}), on=pool())
    assert amounts == {"cpu": 2000, GPU: 1000, "pods": 1000}
    assert thousandths("1.0001") == 1001


def test_the_check_of_the_models_files_counts_where_the_server_asks_for_less():
    assert asks(spec(runtime={}), on=CPU_POOL, digest="sha256:0")["cpu"] == 50


def pod_as_admitted(*extra: dict[str, Any], server: dict[str, str], overhead: dict[str, str] | None = None):
    named = {"name": "triton", "resources": {"requests": server}}
    return admitted_shape({"spec": {"containers": [named, *extra], **({"overhead": overhead} if overhead else {})}})


SIDECAR = {"name": "istio-proxy", "resources": {"requests": {"cpu": "100m"}}}
TEMPLATE = {"containers": [{"name": "triton", "resources": {"requests": {"memory": "1Ki"}}}]}
ADMITTED: dict[str, tuple[dict[str, Any], bool, Amounts]] = {
    "defaults of a LimitRange": (pod_as_admitted(server={"cpu": "400m", "memory": "1Ki"}), True, {"cpu": 400}),
    "an injected sidecar": (pod_as_admitted(SIDECAR, server={}), True, {"cpu": 100}),
    "overhead of a runtime class": (pod_as_admitted(server={}, overhead={"cpu": "250m"}), True, {"cpu": 250}),
    "a device of the same pool": (pod_as_admitted(server={GPU: "1"}), True, {GPU: 1000}),
    "a device of another pool": (pod_as_admitted(server={GPU: "1"}), False, {}),
    "less than the new template asks for": (pod_as_admitted(server={"memory": "512"}), True, {}),
}


@pytest.mark.parametrize(("admitted", "same_pool", "more"), ADMITTED.values(), ids=ADMITTED.keys())
def test_what_the_cluster_adds_to_a_pod_counts(admitted: dict[str, Any], same_pool: bool, more: Amounts):
    found = replica_requests(TEMPLATE, admitted, same_pool=same_pool)
    assert found == {"memory": 1_024_000, "pods": 1000, **more}


def a_node(**changes: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "n", "labels": {"pool": "gpu", "kubernetes.io/arch": changes.get("arch", "amd64")}},
        "spec": {"unschedulable": changes.get("cordoned", False), "taints": changes.get("taints", [])},
        "status": {"conditions": [{"type": "Ready", "status": changes.get("ready", "True")}]},
    }


TAINT = {"key": "dedicated", "value": "yes", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("changes", "tolerations", "expected"),
    [
        ({}, [], True),
        ({"arch": "arm64"}, [], False),
        ({"cordoned": True}, [], False),
        ({"ready": "Unknown"}, [], False),
        ({"taints": [TAINT]}, [], False),
        ({"taints": [{**TAINT, "effect": "PreferNoSchedule"}]}, [], True),
        ({"taints": [TAINT]}, [{"key": "dedicated", "operator": "Exists"}], True),
        ({"taints": [TAINT]}, [{"operator": "Exists"}], True),
        ({"taints": [TAINT]}, [{"key": "dedicated", "value": "yes"}], True),
        ({"taints": [TAINT]}, [{"key": "dedicated", "value": "no"}], False),
        ({"taints": [TAINT]}, [{"key": "dedicated", "operator": "Exists", "effect": "NoExecute"}], False),
        ({"taints": [TAINT, {"key": "x", "effect": "NoExecute"}]}, [{"key": "dedicated", "operator": "Exists"}], False),
        ({"taints": [{**TAINT, "key": GPU}]}, [], True),  # of the pool's own accelerator
        ({"taints": [{**TAINT, "key": GPU}]}, [{"key": GPU, "value": "no"}], True),
        ({"taints": [{**TAINT, "key": GPU, "effect": "NoExecute"}]}, [], False),
        ({"taints": [{**TAINT, "key": "amd.com/gpu"}]}, [], False),
        ({"taints": [{**TAINT, "key": GPU}, TAINT]}, [], False),
    ],
)
def test_nodes_of_a_pool(changes: dict[str, Any], tolerations: list[dict[str, Any]], expected: bool):
    assert in_pool(a_node(**changes), pool(tolerations=tolerations)) is expected


def test_a_node_without_the_label_is_none_of_the_pools():
    assert not in_pool({"metadata": {"name": "n"}}, pool())


def requiring(*requirements: dict[str, Any]) -> dict[str, Any]:
    """`spec.runtime` with one term of node affinity."""
    terms = {"nodeSelectorTerms": [{"matchExpressions": list(requirements)}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ({"key": "zone", "operator": "In", "values": ["a", "b"]}, True),
        ({"key": "zone", "operator": "In", "values": ["b"]}, False),
        ({"key": "zone", "operator": "NotIn", "values": ["a"]}, False),
        ({"key": "rack", "operator": "NotIn", "values": ["a"]}, True),
        ({"key": "zone", "operator": "Exists"}, True),
        ({"key": "rack", "operator": "Exists"}, False),
        ({"key": "rack", "operator": "DoesNotExist"}, True),
        ({"key": "memory", "operator": "Gt", "values": ["79"]}, True),
        ({"key": "memory", "operator": "Gt", "values": ["80"]}, False),
        ({"key": "memory", "operator": "Lt", "values": ["81"]}, True),
        ({"key": "zone", "operator": "Lt", "values": ["81"]}, False),
        ({"key": "rack", "operator": "Lt", "values": ["81"]}, False),
    ],
    ids=str,
)
def test_the_pools_node_affinity_decides_which_nodes_count(requirement: dict[str, Any], expected: bool):
    there = a_node()
    there["metadata"]["labels"] |= {"zone": "a", "memory": "80"}
    assert in_pool(there, pool(runtime=requiring(requirement))) is expected


def test_of_several_terms_one_is_enough_and_pool_and_service_both_hold():
    ssd, a100, h100 = ({"key": k, "operator": "Exists"} for k in ("ssd", "a100", "h100"))
    either = {"nodeSelectorTerms": [{"matchExpressions": [a100]}, {"matchExpressions": [h100]}]}
    of_pool = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": either}}}
    terms = node_terms(pool(runtime=of_pool).runtime, spec(runtime=requiring(ssd)).runtime)
    assert admits(terms, {"h100": "", "ssd": ""})
    assert not admits(terms, {"h100": ""})
    assert not admits(terms, {"ssd": ""})


def test_what_the_pool_tolerates_by_itself_stands_on_its_pods():
    template = pod_template(IDENTITY, spec(), "gpu", pool(), OPTIONS)
    assert template["spec"]["tolerations"] == [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    first = replace(OPTIONS, template_version=1)
    assert "tolerations" not in pod_template(IDENTITY, spec(), "gpu", pool(), first)["spec"]
    declared = pool(tolerations=[{"operator": "Exists"}])
    assert pod_template(IDENTITY, spec(), "gpu", declared, OPTIONS)["spec"]["tolerations"] == [{"operator": "Exists"}]
