"""OCI images made of layers in the cache."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
from typing import IO, TYPE_CHECKING, Any

from .cache import Cache, digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .layers import Layer

OCI = "application/vnd.oci.image"


@dataclasses.dataclass(frozen=True)
class Image:
    name: str
    layers: Sequence[Layer]
    user: str
    entrypoint: list[str]
    command: list[str] = dataclasses.field(default_factory=list)
    environment: list[str] = dataclasses.field(default_factory=list)

    def config(self) -> dict[str, Any]:
        return {
            "Entrypoint": self.entrypoint,
            "Cmd": self.command,
            "Env": self.environment,
            "User": self.user,
        }

    @property
    def reference(self) -> str:
        key = digest(json.dumps(self.config()), *(layer.key for layer in self.layers))
        return f"docker.io/local/{self.name}:{key}"


def write_archive(cache: Cache, images: Iterable[Image], out: IO[bytes], present: Iterable[str] = ()) -> None:
    """One OCI archive of several images; a layer they share is in it once, one whose digest is present not at all."""
    with tarfile.open(fileobj=out, mode="w|") as tar:
        written = set(present)

        def put(path: str, content: bytes) -> None:
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))

        def put_blob(value: dict[str, Any], kind: str) -> dict[str, Any]:
            content = json.dumps(value).encode()
            checksum = hashlib.sha256(content).hexdigest()
            put(f"blobs/sha256/{checksum}", content)
            return {"mediaType": f"{OCI}.{kind}.v1+json", "digest": f"sha256:{checksum}", "size": len(content)}

        manifests = []
        for image in images:
            descriptors = []
            for layer in image.layers:
                directory = layer.directory(cache)
                descriptor = json.loads((directory / "descriptor.json").read_text())
                descriptors.append(descriptor)
                if descriptor["digest"] not in written:
                    written.add(descriptor["digest"])
                    info = tarfile.TarInfo(f"blobs/{descriptor['digest'].replace(':', '/')}")
                    info.size = descriptor["size"]
                    with (directory / "layer.tar").open("rb") as file:
                        tar.addfile(info, file)
            rootfs = {"type": "layers", "diff_ids": [descriptor["digest"] for descriptor in descriptors]}
            config = put_blob(
                {"architecture": "amd64", "os": "linux", "config": image.config(), "rootfs": rootfs}, "config"
            )
            manifest = {
                "schemaVersion": 2,
                "mediaType": f"{OCI}.manifest.v1+json",
                "config": config,
                "layers": descriptors,
            }
            annotations = {"io.containerd.image.name": image.reference}
            manifests.append({**put_blob(manifest, "manifest"), "annotations": annotations})
        put("index.json", json.dumps({"schemaVersion": 2, "manifests": manifests}).encode())
        put("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
