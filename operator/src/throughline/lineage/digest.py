"""Digests of models and data sets: what the files are, not where they lie or when they were written.

A model is a manifest: for each file its path (below the model's folder, with `/`), the SHA-256 of its bytes and its
size. The digest of the model is the SHA-256 of the manifest as canonical JSON, so that it needs no archive, and two
manifests tell which file differs. An empty folder counts (Triton serves some models from an empty version folder):
its path ends in `/`. Owner, mode and times do not count. What is no plain file is refused by name: a symbolic link
or a pipe has no content of its own to vouch for.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from throughline.lineage import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

FORMAT = "throughline.io/model-manifest/v1"
CHUNK_BYTES = 1 << 20
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
# O_NOFOLLOW and O_NONBLOCK: a link or a pipe put there after the listing neither misleads nor blocks.
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class DigestError(ValueError):
    """What cannot be digested, by name, and what to do."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the reading has come; a hook gets one after each chunk of 1 MiB and at the end of each file."""

    path: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class FileDigest:
    """One file: SHA-256 of its bytes in hexadecimal, and how many they are."""

    sha256: str
    size_bytes: int

    @property
    def digest(self) -> str:
        """`sha256:…`."""
        return canonical.PREFIX + self.sha256


@dataclass(frozen=True, slots=True)
class Manifest:
    """Every file of a model: relative path → digest and size."""

    files: Mapping[str, FileDigest]

    def to_wire(self) -> dict[str, Any]:
        """What the digest is made of."""
        files = {path: {"sha256": file.sha256, "sizeBytes": file.size_bytes} for path, file in self.files.items()}
        return {"format": FORMAT, "files": files}

    @property
    def digest(self) -> str:
        """`sha256:…` of the model."""
        return canonical.digest(self.to_wire())

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files.values())

    def differences(self, recorded: Manifest) -> Iterator[str]:
        """What differs from what was recorded: a line for each file, in the order of their paths."""
        for path in sorted(self.files.keys() | recorded.files.keys()):
            now, then = self.files.get(path), recorded.files.get(path)
            if now is None:
                yield f"{path} is missing"
            elif then is None:
                yield f"{path} was added"
            elif now.size_bytes != then.size_bytes:
                yield f"{path} was changed (it had {then.size_bytes} bytes, it has {now.size_bytes})"
            elif now != then:
                yield f"{path} was changed"


def file_digest(path: Path, progress: Callable[[Progress], None] | None = None) -> FileDigest:
    """Digest of one file's bytes, as of a data set: read once, in chunks, whatever its size.

    Raises:
        DigestError: not there, not readable, no plain file, or changed while it was read.
    """
    total = _plain_file(path, str(path)).st_size
    return _read(path, str(path), _counter(progress, total))


def model_manifest(
    path: Path,
    *,
    version: int | None = None,
    mounted: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Manifest:
    """Manifest of a model: a folder with version folders and files, or one file.

    With a version only that folder counts (`path/VERSION`, as Triton serves it); the paths still begin with it.
    With `mounted` that folder may be one that the kubelet made of a ConfigMap: its files count as if they lay in it.

    Raises:
        DigestError: naming what is not there, not readable, no plain file or folder, or has no file at all.
    """
    if not path.is_dir():
        if version is not None:
            raise DigestError(f"{path}: is no folder, so it has no version {version}; leave the version out")
        total = _plain_file(path, str(path)).st_size
        return Manifest({_text(path.name): _read(path, path.name, _counter(progress, total))})
    folder = path if version is None else path / str(version)
    if version is not None and (folder.is_symlink() or not folder.is_dir()):
        raise DigestError(f"{folder}: is no folder; the model has no version {version} here")
    if mounted:
        folder = _behind_mount(folder)
    listed = dict(_walk(folder, "" if version is None else f"{version}/"))
    if not listed:
        raise DigestError(f"{folder}: has no files")
    hook = _counter(progress, sum(size for _, size in listed.values()))
    return Manifest(
        {
            name: FileDigest(EMPTY_SHA256, 0) if name.endswith("/") else _read(file, name, hook)
            for name, (file, _) in listed.items()
        }
    )


def config_map_manifest(
    data: Mapping[str, str] | None, binary_data: Mapping[str, str] | None = None, *, version: int = 1
) -> Manifest:
    """Manifest of a model in a ConfigMap, whose keys are the files of the one version: equal to that of the folder
    `VERSION/` with the same files. Takes `data` (text) and `binaryData` (base64) as the API server gives them.

    Raises:
        DigestError: base64 that is none, or nothing in it.
    """
    contents = {key: text.encode() for key, text in (data or {}).items()}
    for key, text in (binary_data or {}).items():
        try:
            contents[key] = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise DigestError(f"binaryData[{key}] is no base64: {error}") from error
    if not contents:
        raise DigestError("the ConfigMap has neither data nor binaryData: a model has at least one file")
    return Manifest(
        {
            f"{version}/{key}": FileDigest(hashlib.sha256(content).hexdigest(), len(content))
            for key, content in contents.items()
        }
    )


def _behind_mount(folder: Path) -> Path:
    """The folder that holds the files of a mounted ConfigMap; the given one where it is no such mount.

    The kubelet writes the files into `..TIME/` and makes `..data -> ..TIME`, and for each NAME in it
    `NAME -> ..data/NAME`. Nothing else may lie there: the server would read it, and the digest would not tell.
    """
    link = folder / "..data"
    if not link.is_symlink():
        return folder
    try:
        target = str(link.readlink())
        real = folder / target
        # One name that begins with two dots: it leads to nowhere outside the mount.
        if "/" in target or not target.startswith("..") or target == ".." or real.is_symlink() or not real.is_dir():
            raise DigestError(
                f"{link}: leads to {target}, which is no folder of the kubelet's; mount the volume itself"
            )
        names, found = ({path.name for path in listed.iterdir()} for listed in (real, folder))
        odd = (found ^ names) - {"..data", target}
        odd |= {name for name in names & found if not _leads_to(folder / name, f"..data/{name}")}
    except OSError as error:
        raise DigestError(f"{folder}: {error.strerror}") from error
    if odd:
        raise DigestError(
            f"{folder / min(odd)}: is not in both the ConfigMap and its mount, as NAME -> ..data/NAME; mount nothing "
            "else here, and try again when the kubelet has written it"
        )
    return real


def _leads_to(path: Path, target: str) -> bool:
    return path.is_symlink() and str(path.readlink()) == target


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, tuple[Path, int]]]:
    """Path below the model's folder → file and size, links not followed."""
    try:
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except OSError as error:
        raise DigestError(f"{folder}: {error.strerror}") from error
    if not entries and prefix:
        yield prefix, (folder, 0)
    for entry in entries:
        name = prefix + _text(entry.name)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(folder / entry.name, f"{name}/")
        else:
            yield name, (folder / entry.name, _plain_file(folder / entry.name, name).st_size)


def _text(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise DigestError(f"{os.fsencode(name)!r}: the name is not UTF-8; rename it") from error
    return name


def _plain_file(path: Path, name: str) -> os.stat_result:
    try:
        found = path.lstat()
    except OSError as error:
        raise DigestError(f"{name}: {error.strerror}") from error
    _refuse_odd(found, name)
    return found


def _refuse_odd(found: os.stat_result, name: str) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    if stat.S_ISLNK(found.st_mode):
        raise DigestError(
            f"{name}: is a symbolic link; put the file itself there (of a mounted ConfigMap, digest its data instead)"
        )
    kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no plain file (a pipe, a socket or a device)"
    raise DigestError(f"{name}: is {kind}; a plain file is needed")


@dataclass(slots=True)
class _Counter:
    hook: Callable[[Progress], None]
    total_bytes: int
    done_bytes: int = 0

    def add(self, path: str, count: int) -> None:
        self.done_bytes += count
        self.hook(Progress(path, self.done_bytes, self.total_bytes))


def _counter(hook: Callable[[Progress], None] | None, total_bytes: int) -> _Counter:
    return _Counter(hook or _ignore, total_bytes)


def _ignore(_progress: Progress) -> None:
    pass


def _read(path: Path, name: str, counter: _Counter) -> FileDigest:
    hashed = hashlib.sha256()
    buffer = bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    try:
        with open(os.open(path, _OPEN_FLAGS), "rb", buffering=0) as file:  # noqa: PTH123 - pathlib takes no flags
            before = os.fstat(file.fileno())
            _refuse_odd(before, name)
            size = 0
            while count := file.readinto(buffer):
                hashed.update(view[:count])
                size += count
                counter.add(name, count)
            after = os.fstat(file.fileno())
    except OSError as error:
        raise DigestError(f"{name}: {error.strerror}") from error
    if (before.st_mtime_ns, before.st_size, size) != (after.st_mtime_ns, after.st_size, before.st_size):
        raise DigestError(f"{name}: was changed while it was read; try again when nobody writes it")
    counter.add(name, 0)
    return FileDigest(hashed.hexdigest(), size)
