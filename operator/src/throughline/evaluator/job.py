"""What an evaluation leaves behind where it runs as the container of a Job, and which model's files it finds there."""

from __future__ import annotations

import base64
import gzip
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from throughline.domain.evaluation.attempt import MANIFEST_LINE, RESULT_LINE
from throughline.evaluator.errors import EvaluationInputError
from throughline.lineage import canonical
from throughline.lineage.digest import DigestError, Manifest, model_manifest

# The kubelet makes this file for each container, and shows what is in it as the container's last words.
TERMINATION_LOG = Path("/dev/termination-log")
TERMINATION_BYTES = 4096


@dataclass(slots=True)
class Known:
    """What the last words tell whatever the outcome, from the time on that it is known."""

    artifact: Manifest | None = None
    rows: int = 0
    result: bytes | None = None


def result_line(result: bytes) -> str:
    """The bytes of result.json on one line of the log: whoever reads the log needs no volume. The same bytes give the
    same line.
    """
    return RESULT_LINE + _packed(result)


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, mtime=0)).decode()


def manifest_line(files: Manifest) -> str:
    """The manifest that the model's digest is of, as canonical JSON, in the same way."""
    return MANIFEST_LINE + _packed(canonical.encode(files.to_wire()))


def last_words(code: int, outcome: str | None, message: str, known: Known) -> None:
    """In a pod: the outcome, for whoever reads the pod's status. Elsewhere the file is not there."""
    if not TERMINATION_LOG.is_file():
        return
    said: dict[str, Any] = {"exitCode": code, "outcome": outcome, "message": message, "rows": known.rows}
    if known.result is not None:
        said["resultDigest"] = canonical.digest_bytes(known.result)
    if known.artifact is not None:
        files = known.artifact
        said["artifact"] = {"digest": files.digest, "files": len(files.files), "sizeBytes": files.size_bytes}
    # All but the message is short. The file is ASCII: a character of the message may take twelve bytes.
    while len(text := json.dumps(said)) > TERMINATION_BYTES:
        said["message"] = f"{said['message'][: len(said['message']) * 3 // 4]}…"
    try:
        TERMINATION_LOG.write_text(text)
    except OSError as error:
        print(f"throughline-evaluate: {TERMINATION_LOG}: {error.strerror}", file=sys.stderr)


def model_files(directory: str, version: str) -> Manifest:
    """The files of the model, or of the one version of it, from a claim's or a ConfigMap's mount.

    Raises:
        EvaluationInputError: the files cannot be digested.
    """
    try:
        return model_manifest(Path(directory), version=int(version) if version else None, mounted=True)
    except DigestError as error:
        raise EvaluationInputError(f"--model-directory {directory}: {error}") from error


def agreed_digest(given: str | None, files: Manifest | None) -> str | None:
    """The digest that goes into the result.

    Raises:
        EvaluationInputError: another was given than the files have.
    """
    if files is None:
        return given
    if given not in (None, files.digest):
        raise EvaluationInputError(
            f"--model-digest is {given}, but the files in --model-directory have {files.digest}: name the folder of "
            "the model that is meant, or leave --model-digest out"
        )
    return files.digest
