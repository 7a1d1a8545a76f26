"""Requests to erase: lines of the files of a folder (a mounted ConfigMap), each a key, a stored key, or an address.

A request stands as long as its line does: rows that come later go too. What is said of it names the stored key only.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from throughline.evaluator.sampling.rows import HASHED
from throughline.evaluator.sampling.store import Erased

if TYPE_CHECKING:
    from pathlib import Path

    from throughline.evaluator.privacy.redaction import Redactor
    from throughline.evaluator.sampling.rows import Keys
    from throughline.evaluator.sampling.store import Store


class Erasure:
    """The requests that stand now."""

    def __init__(self, folder: Path | None, keys: Keys, redactor: Redactor) -> None:
        self._folder, self._keys, self._redactor = folder, keys, redactor
        self._lines: frozenset[str] = frozenset()
        self._wanted: dict[str, tuple[str, str | None]] = {}
        self._total = Erased()

    def reload(self) -> None:
        """Reads the requests again. The kubelet replaces the folder's files all at once."""
        lines: set[str] = set()
        if self._folder is not None and self._folder.is_dir():
            for path in sorted(self._folder.iterdir()):
                if path.is_file() and not path.name.startswith("."):
                    with contextlib.suppress(FileNotFoundError):
                        lines |= {line.strip() for line in path.read_text().splitlines()}
        lines -= {""}
        if lines != self._lines:
            self._lines = frozenset(lines)
            self._wanted = {line: self._meant(line) for line in lines}

    def wanted(self) -> tuple[frozenset[str], frozenset[str]]:
        """(stored keys, pseudonyms in texts) that must not be stored."""
        keys = frozenset(key for key, _ in self._wanted.values())
        return keys, frozenset(text for _, text in self._wanted.values() if text is not None)

    def apply(self, store: Store) -> Erased:
        """Erases in all files; returns what was removed now."""
        now = store.erase(*self.wanted())
        self._total = Erased(self._total.rows + now.rows, self._total.files + now.files)
        return now

    def acknowledged(self) -> dict[str, object]:
        """For the requests that stand: they were carried out, with counts since the start."""
        keys, _ = self.wanted()
        return {"keys": sorted(keys), "rows": self._total.rows, "files": self._total.files}

    def _meant(self, line: str) -> tuple[str, str | None]:
        if line.startswith(HASHED):
            return line, None
        try:
            return self._keys.hashed(line), self._redactor.pseudonym(line)
        except ValueError:  # no address: it stands for nothing in texts
            return self._keys.hashed(line), None
