"""The pod of a service that is sampled: who sees raw requests, and who the storage."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from throughline.api.monitoring import Sampling

from tests.api.monitoring import SAMPLING
from tests.domain.manifest_cases import OPTIONS, objects, pool, spec

SAMPLED = dataclasses.replace(OPTIONS, evaluator_image="example/evaluator:1")


def pod(options: Any = SAMPLED, region: str | None = "eu-west-1", **sampling: Any) -> dict[str, Any]:
    service = spec(monitoring={"sampling": {**SAMPLING, **sampling}})
    made = objects(service, serving_pool=pool(region=region), options=options)
    return made["Deployment"]["spec"]["template"]["spec"]


def mounts(container: dict[str, Any]) -> dict[str, str]:
    return {m["name"]: m["mountPath"] for m in container["volumeMounts"]}


def test_only_the_sidecar_has_the_storage_and_only_memory_has_raw_requests() -> None:
    made = pod(bufferMebibytes=16)
    (_, sidecar), (server,) = made["initContainers"], made["containers"]
    assert {"samples", "sample-storage"} <= mounts(sidecar).keys()
    assert mounts(server)["samples"] == mounts(sidecar)["samples"]
    assert "sample-storage" not in mounts(server)
    volumes = {v["name"]: v for v in made["volumes"]}
    assert volumes["samples"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Mi"}
    assert volumes["sample-storage"]["persistentVolumeClaim"] == {"claimName": "samples"}


def test_a_claim_of_models_and_samples_is_one_volume_that_the_server_only_reads() -> None:
    made = pod(storage={"claimName": "models", "path": "samples"})
    (_, sidecar), (server,) = made["initContainers"], made["containers"]
    claims = [v for v in made["volumes"] if "persistentVolumeClaim" in v]
    assert claims == [{"name": "sample-storage", "persistentVolumeClaim": {"claimName": "models"}}]
    (files,) = [m for m in server["volumeMounts"] if m["name"] == "sample-storage"]
    assert (files["readOnly"], files["subPath"]) == (True, "resnet")
    (samples,) = [m for m in sidecar["volumeMounts"] if m["name"] == "sample-storage"]
    assert "readOnly" not in samples


def test_the_sidecar_is_native_and_restricted() -> None:
    made = pod()
    (_, sidecar), (server,) = made["initContainers"], made["containers"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["securityContext"] == server["securityContext"]
    assert sidecar["securityContext"]["readOnlyRootFilesystem"]
    assert sidecar["resources"]["limits"].keys() == {"memory"}


def test_the_server_traces_one_in_so_many_into_memory_and_starts_with_it_off() -> None:
    (server,) = pod(oneIn=250)["containers"]
    traced = [a for a in server["args"] if "trace-config" in a]
    assert "--trace-config=rate=250" in traced
    assert "--trace-config=triton,log-frequency=1" in traced
    assert not any("level" in a for a in traced)


def test_the_declaration_reaches_the_sidecar_as_it_was_written() -> None:
    _, sidecar = pod()["initContainers"]
    env = {e["name"]: e for e in sidecar["env"]}
    assert json.loads(env["THROUGHLINE_SAMPLING"]["value"]) == SAMPLING
    assert Sampling.model_validate_json(env["THROUGHLINE_SAMPLING"]["value"]).one_in == SAMPLING["oneIn"]
    assert env["THROUGHLINE_SALT"]["valueFrom"]["secretKeyRef"] == {"name": "salt", "key": "salt"}
    assert "value" not in env["THROUGHLINE_CONTROL_KEY"]


@pytest.mark.parametrize(("declared", "there"), [({}, False), ({"erasures": "gone"}, True)])
def test_erasures_are_mounted_where_they_are_declared(declared: dict[str, Any], *, there: bool) -> None:
    _, sidecar = pod(**declared)["initContainers"]
    assert ("sample-erasures" in mounts(sidecar)) == there
    assert ("--erasures=/erasures" in sidecar["args"]) == there


def test_without_an_image_for_it_the_pod_is_that_of_a_service_without_sampling() -> None:
    assert pod(OPTIONS) == objects(spec())["Deployment"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("region", ["us-east-1", None])
def test_nothing_is_sampled_outside_the_regions_of_its_governance(region: str | None) -> None:
    assert pod(region=region) == objects(spec())["Deployment"]["spec"]["template"]["spec"]
