from __future__ import annotations

from pathlib import Path
from typing import Any

import lupa
import pytest
import yaml
from throughline.api.crd import KINDS

ROOT = Path(__file__).resolve().parents[2] / "manifests" / "argocd" / "throughline.io"


def to_lua(lua: lupa.LuaRuntime, value: Any) -> Any:
    if isinstance(value, dict):
        return lua.table_from({k: to_lua(lua, v) for k, v in value.items()})
    return lua.table_from([to_lua(lua, v) for v in value]) if isinstance(value, list) else value


def cases() -> list[Any]:
    return [
        pytest.param(kind, case, id=f"{kind}: {Path(case['inputPath']).stem}")
        for kind in sorted(p.name for p in ROOT.iterdir())
        for case in yaml.safe_load((ROOT / kind / "health_test.yaml").read_text())["tests"]
    ]


@pytest.mark.parametrize(("kind", "case"), cases())
def test_health(kind: str, case: dict[str, Any]) -> None:
    lua = lupa.LuaRuntime()
    lua.globals().obj = to_lua(lua, yaml.safe_load((ROOT / kind / case["inputPath"]).read_text()))
    health = lua.execute((ROOT / kind / "health.lua").read_text())
    assert {"status": health["status"], "message": health["message"]} == case["healthStatus"]


def test_every_kind_has_the_same_check_and_all_test_data_is_used() -> None:
    # Of a kind without status the check would wait forever; without one Argo CD takes it as it is.
    assert {p.name for p in ROOT.iterdir()} == {kind.kind for kind in KINDS if kind.status is not None}
    assert len({(p / "health.lua").read_text() for p in ROOT.iterdir()}) == 1
    for folder in ROOT.iterdir():
        used = {c["inputPath"] for c in yaml.safe_load((folder / "health_test.yaml").read_text())["tests"]}
        assert used == {f"testdata/{p.name}" for p in (folder / "testdata").iterdir()}
