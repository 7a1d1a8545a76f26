from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from throughline.lineage import digest
from throughline.lineage.digest import DigestError, Progress, config_map_manifest, file_digest, model_manifest

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"1/model.onnx": b"weights", "1/labels.txt": b"a\nb\n", "config.pbtxt": b"name: 'm'"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return written(tmp_path / "model", FILES)


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_anybody_can_compute_the_digest_again(model: Path) -> None:
    """From the description in docs/lineage.md alone."""
    files = {n: {"sha256": hashlib.sha256(c).hexdigest(), "sizeBytes": len(c)} for n, c in FILES.items()}
    document = {"format": "throughline.io/model-manifest/v1", "files": files}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    assert model_manifest(model).digest == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_only_content_counts(model: Path, tmp_path: Path) -> None:
    before = model_manifest(model).digest
    os.utime(model / "config.pbtxt", (1, 1))
    (model / "config.pbtxt").chmod(0o600)
    assert model_manifest(model).digest == before
    assert model_manifest(written(tmp_path / "elsewhere", dict(reversed(FILES.items())))).digest == before


def test_every_byte_and_every_name_counts(model: Path) -> None:
    recorded = model_manifest(model)
    for name, content in FILES.items():
        for index in range(len(content)):
            for mask in (0x01, 0x80):
                changed = bytearray(content)
                changed[index] ^= mask
                (model / name).write_bytes(changed)
                now = model_manifest(model)
                assert now.digest != recorded.digest
                assert list(now.differences(recorded)) == [f"{name} was changed"]
        (model / name).write_bytes(content)
    assert model_manifest(model).digest == recorded.digest


def test_differences_name_the_files(model: Path) -> None:
    recorded = model_manifest(model)
    (model / "1/labels.txt").unlink()
    (model / "1/model.onnx").write_bytes(b"weights2")
    written(model, {"2/model.onnx": b"x"})
    assert list(model_manifest(model).differences(recorded)) == [
        "1/labels.txt is missing",
        "1/model.onnx was changed (it had 7 bytes, it has 8)",
        "2/model.onnx was added",
    ]


def test_an_empty_version_folder_counts(model: Path) -> None:
    recorded = model_manifest(model)
    (model / "2").mkdir()
    assert list(model_manifest(model).differences(recorded)) == ["2/ was added"]


def test_a_file_and_a_folder_of_the_same_name_differ(tmp_path: Path) -> None:
    folder, file = tmp_path / "a", tmp_path / "b"
    (folder / "1").mkdir(parents=True)
    written(file, {"1": b""})
    assert model_manifest(folder).digest != model_manifest(file).digest


def test_one_version_alone(model: Path) -> None:
    recorded = model_manifest(model, version=1)
    written(model, {"2/model.onnx": b"next"})
    assert set(recorded.files) == {"1/model.onnx", "1/labels.txt"}
    assert model_manifest(model, version=1).digest == recorded.digest
    with pytest.raises(DigestError, match="no version 3"):
        model_manifest(model, version=3)


def test_a_single_file(model: Path) -> None:
    manifest = model_manifest(model / "1/model.onnx")
    assert list(manifest.files) == ["model.onnx"]
    assert file_digest(model / "1/model.onnx").sha256 == hashlib.sha256(b"weights").hexdigest()
    with pytest.raises(DigestError, match="leave the version out"):
        model_manifest(model / "1/model.onnx", version=1)


def test_a_config_map_equals_the_folder_with_its_files(model: Path) -> None:
    binary = {"model.onnx": base64.b64encode(b"weights").decode()}
    manifest = config_map_manifest({"labels.txt": "a\nb\n"}, binary)
    assert manifest.digest == model_manifest(model, version=1).digest
    assert config_map_manifest({"labels.txt": "a\nb\n"}, binary, version=2).digest != manifest.digest


def test_a_broken_or_empty_config_map_is_refused() -> None:
    with pytest.raises(DigestError, match=r"binaryData\[x\] is no base64"):
        config_map_manifest(None, {"x": "QQ=!"})
    with pytest.raises(DigestError, match="at least one file"):
        config_map_manifest(None, None)


def as_mounted(folder: Path, files: dict[str, bytes]) -> Path:
    """As the kubelet's atomic writer lays out the volume of a ConfigMap."""
    written(folder / "..2026_01_01", files)
    (folder / "..data").symlink_to("..2026_01_01")
    for name in {name.partition("/")[0] for name in files}:
        (folder / name).symlink_to(f"..data/{name}")
    return folder


@pytest.mark.parametrize("version", [1, None])
def test_a_mounted_config_map_equals_the_folder_with_its_files(tmp_path: Path, version: int | None) -> None:
    files = {"model.py": b"import os", "labels.txt": b"a", "assets/vocabulary": b"b"}
    below = "1" if version else "."
    written(tmp_path / "plain" / below, files)
    as_mounted(tmp_path / "mounted" / below, files)
    plain = model_manifest(tmp_path / "plain", version=version)
    assert model_manifest(tmp_path / "plain", version=version, mounted=True) == plain
    assert model_manifest(tmp_path / "mounted", version=version, mounted=True) == plain
    with pytest.raises(DigestError, match="is a symbolic link"):
        model_manifest(tmp_path / "mounted", version=version)


def test_what_lies_beside_a_mounted_config_map_is_refused_by_name(tmp_path: Path) -> None:
    """The server would read it, and the digest would not tell."""
    folder = as_mounted(tmp_path / "1", {"model.py": b"a"})
    for name in ("extra.py", "..2025_12_31"):
        (folder / name).write_bytes(b"b")
        with pytest.raises(DigestError, match=rf"1/{name}: is not in both"):
            model_manifest(tmp_path, version=1, mounted=True)
        (folder / name).unlink()
    (folder / "model.py").unlink()
    with pytest.raises(DigestError, match=r"model\.py: is not in both"):  # the kubelet has not made its link yet
        model_manifest(tmp_path, version=1, mounted=True)
    for other in (b"another file", "..2026_01_01/model.py", "../2/model.py"):
        if isinstance(other, bytes):
            (folder / "model.py").write_bytes(other)
        else:
            (folder / "model.py").symlink_to(other)
        with pytest.raises(DigestError, match=r"model\.py: is not in both"):
            model_manifest(tmp_path, version=1, mounted=True)
        (folder / "model.py").unlink()


@pytest.mark.parametrize("target", ["..", "../2", "2", "/etc", "..nowhere", "..data", "..file", "..link"])
def test_a_mount_that_leads_elsewhere_is_refused(tmp_path: Path, target: str) -> None:
    written(tmp_path, {"1/2/model.py": b"a", "2/model.py": b"a", "1/..file": b"a"})
    (tmp_path / "1/..link").symlink_to("2")
    (tmp_path / "1/..data").symlink_to(target)
    with pytest.raises(DigestError, match=r"1/\.\.data: leads to"):
        model_manifest(tmp_path, version=1, mounted=True)


def test_a_link_inside_a_mounted_config_map_is_refused(tmp_path: Path) -> None:
    folder = as_mounted(tmp_path / "1", {"model.py": b"a", "b": b"b"})
    (folder / "..2026_01_01/b").unlink()
    (folder / "..2026_01_01/b").symlink_to("/etc/passwd")
    with pytest.raises(DigestError, match=r"^1/b: is a symbolic link"):
        model_manifest(tmp_path, version=1, mounted=True)


@pytest.mark.parametrize("target", ["model.onnx", "nowhere", "/etc/passwd", "."])
def test_links_are_refused_by_name(model: Path, target: str) -> None:
    (model / "1/link").symlink_to(target)
    with pytest.raises(DigestError, match=r"^1/link: is a symbolic link"):
        model_manifest(model)


def test_a_link_as_the_version_folder_is_refused(model: Path) -> None:
    (model / "2").symlink_to("1")
    with pytest.raises(DigestError, match="is no folder"):
        model_manifest(model, version=2)


def test_pipes_and_sockets_are_refused_by_name(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(model / "1/pipe")
    with pytest.raises(DigestError, match=r"^1/pipe: is no plain file"):
        model_manifest(model)
    (model / "1/pipe").unlink()
    monkeypatch.chdir(model)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("1/sock")
        with pytest.raises(DigestError, match=r"^1/sock: is no plain file"):
            model_manifest(model)


def test_a_pipe_put_in_the_place_of_a_listed_file_does_not_block(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = digest._plain_file

    def swap(path: Path, name: str) -> os.stat_result:
        found = listed(path, name)
        path.unlink()
        os.mkfifo(path)
        return found

    monkeypatch.setattr(digest, "_plain_file", swap)
    done = threading.Event()

    def read() -> None:
        with pytest.raises(DigestError, match="no plain file"):
            model_manifest(model)
        done.set()

    threading.Thread(target=read, daemon=True).start()
    assert done.wait(5)


def test_a_name_that_is_no_text_is_refused(model: Path) -> None:
    (model / os.fsdecode(b"\xff.bin")).write_bytes(b"")
    with pytest.raises(DigestError, match="not UTF-8; rename it"):
        model_manifest(model)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DigestError, match="No such file"):
        model_manifest(tmp_path / "x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DigestError, match="has no files"):
        model_manifest(tmp_path / "empty")
    with pytest.raises(DigestError, match="is a folder; a plain file is needed"):
        file_digest(tmp_path)


def test_a_file_that_is_written_meanwhile_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    data.write_bytes(b"x" * 10)

    def append(progress: Progress) -> None:
        if progress.done_bytes == 10:
            with data.open("ab") as file:
                file.write(b"y")

    with pytest.raises(DigestError, match="changed while it was read"):
        file_digest(data, append)


def test_large_files_are_read_in_chunks_and_progress_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    size = 3 * digest.CHUNK_BYTES + 5
    written(folder, {"a": b"", "b": bytes(size)})
    told: list[Progress] = []
    manifest = model_manifest(folder, progress=told.append)
    assert manifest.size_bytes == size
    assert [p.done_bytes for p in told if p.path == "b"] == [
        *(n * digest.CHUNK_BYTES for n in (1, 2, 3)),
        *(size, size),
    ]
    assert {p.total_bytes for p in told} == {size}
