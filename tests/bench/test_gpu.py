"""The repository and the flags that `bench.gpu` gives Triton are those of the pod that the operator renders."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from throughline.api.batching import BatchSettings
from throughline.domain.manifests import CONFIG_NAME

from bench.gpu.server import KEY, NAME, Place, repository, service

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = BatchSettings(max_batch_size=16, max_queue_delay_microseconds=500, instances=2)


def of(folder: Path, *, cpu: bool) -> tuple[list[str], str]:
    program = folder / "triton" / "bin" / "tritonserver"
    place = Place(program, program, program, *service(cpu=cpu, callers=8))
    flags = repository(folder, place, SETTINGS)
    return flags, (folder / NAME / "configs" / f"{CONFIG_NAME}.pbtxt").read_text()


def test_the_settings_are_in_the_configuration(tmp_path: Path) -> None:
    flags, config = of(tmp_path, cpu=True)
    assert re.search(r"max_batch_size: 16\b", config)
    assert re.search(r"count: 2\b", config)
    assert re.search(r"max_queue_delay_microseconds: 500\b", config)
    assert f"--model-config-name={CONFIG_NAME}" in flags


def test_the_servers_flags_are_those_of_the_pod_but_for_places_and_the_key(tmp_path: Path) -> None:
    flags, _ = of(tmp_path, cpu=True)
    assert f"--model-repository={tmp_path}" in flags
    assert f"--backend-directory={tmp_path / 'triton' / 'backends'}" in flags
    assert not [f for f in flags if "$(" in f]
    assert [f for f in flags if f.endswith(f"={KEY}")]


def test_the_model_is_where_the_version_is(tmp_path: Path) -> None:
    of(tmp_path, cpu=True)
    (model,) = tmp_path.rglob("model.py")
    assert model.parent.name.isdigit()
    assert model.parent.parent == tmp_path / NAME


def test_the_network_is_on_the_gpu_unless_the_bench_itself_is_tried(tmp_path: Path) -> None:
    assert re.search(r'string_value: "cuda"', of(tmp_path / "gpu", cpu=False)[1])
    assert not re.search(r'string_value: "cuda"', of(tmp_path / "cpu", cpu=True)[1])
