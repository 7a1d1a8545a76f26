"""The model's whole folder is in a pod, by links that the init container makes: its script runs here as it is."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from throughline.domain.manifests.model_files import FOLDER, LINKING

from tests.domain.manifest_cases import OPTIONS, objects, spec

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    """A claim's directory with one model, and what lies beside its version folder."""
    for file in ("model/1/model.py", "model/2/model.py", "model/env.tar.gz", "model/tokenizer/vocab.json"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(file)
    (tmp_path / "model/config.pbtxt").write_text('name: "theirs"')
    (tmp_path / "model/configs").mkdir()
    (tmp_path / "model/.snapshot").mkdir()
    return tmp_path


def linked(claim: Path, version: int = 1) -> tuple[int, set[str], str]:
    """Exit code, entries of the model in the repository, and the message."""
    message = claim / "message"
    message.write_text("")
    target = claim / "repository/m"
    command = ["/bin/sh", "-c", LINKING, "model-files", str(claim / "model"), str(target), str(version), str(message)]
    code = subprocess.run(command, check=False).returncode
    return code, {e.name for e in target.iterdir()} if target.exists() else set(), message.read_text()


def test_the_server_finds_what_lies_beside_the_version_folder(claim: Path) -> None:
    code, entries, message = linked(claim)
    assert (code, message) == (0, "")
    assert entries == {"1", "env.tar.gz", "tokenizer"}, "no other version, and no configuration but the operator's"
    assert (claim / "repository/m/tokenizer/vocab.json").read_text() == "model/tokenizer/vocab.json"
    assert (claim / "repository/m/1/../env.tar.gz").read_text() == "model/env.tar.gz"
    assert linked(claim)[:2] == (0, entries), "a container may run again"


def test_a_link_out_of_the_model_folder_is_named_and_one_inside_is_followed(claim: Path) -> None:
    (claim / "model/weights").write_text("weights")
    (claim / "model/1/model.onnx").symlink_to("../weights")
    (claim / "model/1/deep").mkdir()
    (claim / "model/1/deep/model.plan").symlink_to("/data/shared/model.plan")
    code, entries, message = linked(claim)
    assert code == 0, "the model may not need it"
    assert "1" in entries
    (named,) = message.splitlines()
    assert named.startswith("1/deep/model.plan is a link to /data/shared/model.plan, which leads out of the model's")
    for i in range(9):
        (claim / f"model/1/lost-{i}").symlink_to("/nowhere")
    assert len(linked(claim)[2].splitlines()) == 3, "the kubelet keeps 4 KiB"


def test_a_version_that_is_not_there_is_said_with_those_that_are(claim: Path) -> None:
    code, entries, message = linked(claim, version=7)
    assert (code, entries) == (1, set())
    assert "has no folder 7; it has: 1 2 config.pbtxt configs env.tar.gz tokenizer" in message
    (claim / "model/7").symlink_to("/elsewhere/7")
    assert "7 is a link to /elsewhere/7" in linked(claim, version=7)[2]


def template(model: dict[str, Any], options: Any = OPTIONS, **more: Any) -> dict[str, Any]:
    return objects(spec(model=model, **more), options=options)["Deployment"]["spec"]["template"]["spec"]


def storage_mounts(container: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(m["mountPath"], m.get("subPath")) for m in container["volumeMounts"] if m["name"] == "storage"]


@pytest.mark.parametrize(("uri", "path"), [("pvc://models/a/b", "a/b"), ("pvc://models", None)])
def test_a_claim_is_mounted_with_the_models_whole_folder(uri: str, path: str | None) -> None:
    resources = {"requests": {"cpu": "2", "memory": "4Gi"}}
    pod = template({"storage": {"uri": uri}, "version": 3}, runtime={"resources": resources})
    (linker,), (server,) = pod["initContainers"], pod["containers"]
    assert storage_mounts(server) == storage_mounts(linker) == [(FOLDER, path)]
    assert linker["args"] == [FOLDER, "/models/resnet", "3", "/dev/termination-log"]
    assert linker["image"] == server["image"], "no other is pulled"
    assert linker["resources"]["requests"] == resources["requests"], "a quota sees no more, and no accelerator is held"


def test_pods_of_the_first_form_keep_the_version_folder_alone() -> None:
    pod = template({}, replace(OPTIONS, template_version=1))
    assert "initContainers" not in pod
    assert storage_mounts(pod["containers"][0]) == [("/models/resnet/1", "resnet/1")]


def test_labels_of_a_config_map_lie_where_triton_looks_for_them() -> None:
    output = {"name": "y", "dataType": "TYPE_FP32", "dims": [2], "labelFilename": "labels.txt"}
    pod = template({"storage": {"uri": "configmap://small"}, "outputs": [output]})
    assert storage_mounts(pod["containers"][0]) == [
        ("/models/resnet/1", None),
        ("/models/resnet/labels.txt", "labels.txt"),
    ]
