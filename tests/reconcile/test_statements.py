"""Signed statements about models: made when something is new, by whose key, and never of what contradicts itself."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from throughline.lineage import canonical, envelope, keys, statement

from tests.reconcile.judging import MANIFEST, Scene

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def signing(scene: Scene, tmp_path: Path) -> Scene:
    public, _ = keys.generate(tmp_path / "signing.key", keys.Algorithm.ECDSA_P256)
    scene.public = keys.load_public(public)  # type: ignore[attr-defined]
    scene.world.deps = replace(scene.world.deps, signers=(keys.load_signer(tmp_path / "signing.key"),))
    scene.restart()
    return scene


def stored(scene: Scene) -> dict[str, str]:
    (revision,) = scene.all("ModelRevision")
    return dict(scene.world.live("ConfigMap", f"{revision['metadata']['name']}-statement")["data"])


def predicate(scene: Scene) -> statement.Predicate:
    """Of the statement in the cluster, whose signature holds."""
    data = stored(scene)["statement.json"].encode()
    return statement.read(envelope.verify(data, [scene.public]).payload)  # type: ignore[attr-defined]


def said(scene: Scene) -> dict[str, tuple[str, str]]:
    (revision,) = scene.all("ModelRevision")
    return {c["type"]: (c["status"], c["reason"]) for c in revision["status"]["conditions"]}


async def test_a_statement_says_what_the_records_say(signing: Scene) -> None:
    signing.declare()
    await signing.judge()
    (run,), (revision,) = signing.all("EvaluationRun"), signing.all("ModelRevision")
    found = predicate(signing)
    assert found.model.manifest == MANIFEST
    assert (found.service, found.revision) == ("m", revision["metadata"]["name"])
    (judged,) = found.evaluations
    assert (judged.name, judged.verdict, judged.dataset.size_bytes) == ("s", "Passed", 5)
    assert judged.result.digest == run["status"]["resultDigest"]
    assert said(signing)["Signed"] == ("True", "Signed")
    assert revision["status"]["statementDigest"] == canonical.digest_bytes(stored(signing)["statement.json"].encode())
    assert found.bom is not None
    assert found.bom.digest == canonical.digest_bytes(stored(signing)["bom.json"].encode())


async def test_it_is_signed_anew_only_for_news(signing: Scene) -> None:
    signing.declare()
    await signing.judge()
    first, writes = stored(signing), list(signing.world.kube.writes)
    await signing.passes()
    signing.restart()
    signing.world.now += 1000
    await signing.passes()
    assert signing.world.kube.writes == writes
    assert stored(signing) == first
    signing.suite("s", ("spec/minimumSliceSize", 77))
    await signing.judge("Failed", exit_code=1, message="too low")
    assert [e.verdict for e in predicate(signing).evaluations] == ["Failed"]


async def test_a_record_that_was_deleted_and_made_again_is_signed_again(signing: Scene) -> None:
    signing.declare()
    await signing.judge()
    (revision,) = signing.all("ModelRevision")
    signing.world.remove("ModelRevision", "default", revision["metadata"]["name"])
    await signing.passes()
    assert said(signing)["Signed"] == ("True", "Signed")


@pytest.mark.parametrize("how", ["statement", "another key"])
async def test_one_that_was_touched_is_made_anew(signing: Scene, how: str, tmp_path: Path) -> None:
    signing.declare()
    await signing.judge()
    (revision,) = signing.all("ModelRevision")
    held = signing.world.kube.objects[("ConfigMap", "default", f"{revision['metadata']['name']}-statement")]
    if how == "statement":
        held["data"]["statement.json"] = held["data"]["statement.json"].replace("a", "b", 1)
    else:
        keys.generate(tmp_path / "other.key", keys.Algorithm.ED25519)
        other = keys.load_signer(tmp_path / "other.key")
        payload = statement.write(predicate(signing).model_copy(update={"pool": "mine"}))
        held["data"]["statement.json"] = envelope.sign(payload, [other]).decode()
    signing.restart()
    await signing.passes()
    assert predicate(signing).pool == "gpu"


@pytest.mark.parametrize("how", ["changed", "gone", "no manifest"])
async def test_what_contradicts_its_record_is_not_signed(signing: Scene, how: str) -> None:
    signing.declare()
    signers = signing.world.deps.signers
    signing.world.deps = replace(signing.world.deps, signers=())
    signing.restart()
    await signing.judge()
    (run,) = signing.all("EvaluationRun")
    held: dict[str, Any] = signing.world.kube.objects[("ConfigMap", "default", run["metadata"]["name"])]
    if how == "changed":
        result = json.loads(held["data"]["result.json"])
        held["data"]["result.json"] = json.dumps({**result, "rows": 11})
    elif how == "gone":
        del signing.world.kube.objects[("ConfigMap", "default", run["metadata"]["name"])]
    else:
        del held["data"]["manifest.json"]
    signing.world.deps = replace(signing.world.deps, signers=signers)
    signing.restart()
    await signing.passes()
    assert said(signing)["Signed"] == ("False", "Unsignable")
    assert not [o for o in signing.all("ConfigMap") if o["metadata"]["name"].endswith("-statement")]
    assert signing.served() == "m/1"


async def test_without_a_key_nothing_is_signed_or_said(scene: Scene) -> None:
    scene.declare()
    await scene.judge()
    assert "Signed" not in said(scene)
    assert not [o for o in scene.all("ConfigMap") if o["metadata"]["name"].endswith("-statement")]
