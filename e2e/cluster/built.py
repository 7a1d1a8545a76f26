"""What a cluster runs from: fixed when it starts, whatever changes in the working tree afterwards."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import TYPE_CHECKING

from . import binary, recipes, store

if TYPE_CHECKING:
    from .cache import Cache

FILE = "built.json"


@dataclasses.dataclass(frozen=True)
class Built:
    kube: str
    store: str
    images: dict[str, str]

    @classmethod
    def wanted(cls, cache: Cache) -> Built:
        """What the working tree as it is now would be built into."""
        images = recipes.images(cache)
        references = {name: image.reference for name, image in images.items()}
        return cls(str(binary.path(cache, "kube", "kube")), str(store.path(cache, list(images.values()))), references)

    def exists(self) -> bool:
        return pathlib.Path(self.kube).exists() and pathlib.Path(self.store).exists()

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Built:
        return cls(**json.loads(text))
