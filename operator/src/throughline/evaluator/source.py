"""Where the bytes of a data set are: a mounted claim or ConfigMap, a file, or a URL that fsspec opens."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from throughline.evaluator.errors import EvaluationInputError, NotEvaluatedError
from throughline.lineage import canonical

if TYPE_CHECKING:
    from collections.abc import Iterator

    from throughline.api.evaluationdataset import DatasetSource

# Chains ("zip::…") and fsspec's other protocols could reach what a suite has no business with.
PROTOCOLS = ("file", "http", "https", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az")
# Of botocore, google-auth and azure-core, none of which need be there.
_NO_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "DefaultCredentialsError",
    "ClientAuthenticationError",
}
_URL = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)(?=://|::)")


@dataclass(frozen=True, slots=True)
class Opened:
    """A data set's file, open for reading from its start."""

    file: BinaryIO
    name: str  # as the user knows it
    suffix: str
    digest: str  # sha256:HEX over all bytes
    size_bytes: int


def locate(source: DatasetSource, root: Path) -> str:
    """The path or URL of a source: what is mounted (pvc, configMap) lies below `root`."""
    if source.pvc is not None:
        return str(root / source.pvc.path)
    if source.config_map is not None:
        return str(root / source.config_map.key)
    assert source.uri is not None  # noqa: S101 - the API has one of the three
    return source.uri.url


def endpoint(source: DatasetSource, location: str) -> str | None:
    """Where S3 is spoken; None: AWS, what the client's environment says, or `location` is not the source's own URL."""
    return source.uri.endpoint if source.uri is not None and source.uri.url == location else None


@contextlib.contextmanager
def opened(location: str, *, expected: str | None, scratch: Path, endpoint: str | None = None) -> Iterator[Opened]:
    """Open a path or URL, its digest computed and compared with `expected` (sha256:HEX) where that is given.

    `endpoint`: as the function of that name gives it.

    A URL is fetched into a file in `scratch` first, which is gone afterwards: Parquet needs to go back and forth, and
    what is parsed is then what was hashed. A local file is hashed and parsed through one descriptor; if it changes
    meanwhile that is an error.

    Raises:
        EvaluationInputError: the file is absent, empty or not readable, has another digest, or changed while it
            was read.
        NotEvaluatedError: a store does not answer.
    """
    match = _URL.match(location)
    if match is not None and match[1].lower() != "file":
        with tempfile.TemporaryDirectory(dir=scratch, prefix="data-") as folder:
            local = Path(folder) / "data"
            _fetch(location, match[1].lower(), local, endpoint)
            with _opened_file(local, location, expected) as found:
                yield found
        return
    path = Path(location.removeprefix("file://")) if match is not None else Path(location)
    with _opened_file(path, location, expected) as found:
        yield found


@contextlib.contextmanager
def _opened_file(path: Path, name: str, expected: str | None) -> Iterator[Opened]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise EvaluationInputError(
            f"{name}: there is no such file{_beside(path)}; correct spec.dataset.source"
        ) from None
    except IsADirectoryError:
        raise EvaluationInputError(f"{name} is a directory; name one file in it") from None
    except OSError as error:
        raise EvaluationInputError(f"{name} cannot be opened: {error.strerror}") from error
    with file:
        before = os.fstat(file.fileno())
        try:
            digest = f"{canonical.PREFIX}{hashlib.file_digest(file, 'sha256').hexdigest()}"
        except OSError as error:
            raise NotEvaluatedError(f"{name} cannot be read: {error.strerror}") from error
        if before.st_size == 0:
            raise EvaluationInputError(f"{name} is empty (0 bytes); put the rows there")
        if expected is not None and digest != expected:
            raise EvaluationInputError(
                f"{name} has digest {digest}, but spec.dataset.digest is {expected}: it is not the data set that the "
                "suite was written for. Put the right file there, or update spec.dataset.digest"
            )
        file.seek(0)
        yield Opened(file, name, _suffix(name), digest, before.st_size)
        after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise EvaluationInputError(f"{name} changed while it was read; evaluate it when nothing writes it")


def _suffix(name: str) -> str:
    return Path(name.partition("?")[0].partition("#")[0]).suffix.lower()


def _beside(path: Path) -> str:
    """What there is instead, for the message."""
    folder = path.parent
    if not folder.is_dir():
        return f" (nor the directory {folder})"
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))[:5]
    return f" ({folder} has {', '.join(names)})" if names else f" ({folder} is empty)"


def _fetch(url: str, protocol: str, target: Path, endpoint: str | None) -> None:
    import fsspec  # noqa: PLC0415 - only URLs need it
    from fsspec.registry import known_implementations  # noqa: PLC0415

    if protocol not in PROTOCOLS or "::" in url:
        raise EvaluationInputError(f"{url}: {protocol} is not supported; use one of {', '.join(PROTOCOLS)}, or a path")
    try:
        filesystem, path = fsspec.core.url_to_fs(url, **({} if endpoint is None else {"endpoint_url": endpoint}))
    except ImportError as error:
        package = known_implementations[protocol]["class"].partition(".")[0]
        needed = "aiohttp" if package == "fsspec" else package
        raise EvaluationInputError(f"{protocol}:// needs the package {needed}; pip install {needed}") from error
    try:
        filesystem.get_file(path, str(target))
    except FileNotFoundError as error:
        raise EvaluationInputError(f"{url}: there is no such file; correct spec.dataset.source.uri.url") from error
    # Each store's client has exceptions of its own; whatever they are, the data set was not read.
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, PermissionError) or type(error).__name__ in _NO_CREDENTIALS:
            raise EvaluationInputError(
                f"{url} may not be read ({_one_line(error)}); give credentials: spec.dataset.source.uri.secretName "
                "names the Secret whose keys are the store's environment variables"
            ) from error
        raise NotEvaluatedError(f"{url} could not be fetched: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
