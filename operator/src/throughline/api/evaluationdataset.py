"""Where an evaluation's rows come from, and under whose rules they are used."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from throughline.api.base import ATOMIC_LIST, Name, ObjectKey, Resource, Rule

Column = Annotated[str, Field(min_length=1, max_length=253)]
_UPWARDS = r"^(.*/)?[.][.](/.*)?$"


def inside_claim(where: str, *, absent: bool = False) -> Rule:
    """That `path` stays inside its claim. `where`: of the resource with that path; `absent`: it may be left out."""
    inside = f"!self.path.startsWith('/') && !self.path.matches(r'{_UPWARDS}')"
    return Rule(
        cel=f"!has(self.path) || {inside}" if absent else inside,
        holds=lambda s: not s.path.startswith("/") and ".." not in s.path.split("/"),
        message=f"{where}.path must stay inside the claim: no leading '/', no '..'; write it from the claim's root",
        field="path",
    )


class PersistentVolumeClaimSource(Resource):
    """A file on a PersistentVolumeClaim of the same namespace, mounted read-only."""

    RULES: ClassVar[tuple[Rule, ...]] = (inside_claim("spec.dataset.source.pvc"),)

    claim_name: Name
    path: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f]+$")]


class ConfigMapSource(Resource):
    """A key of a ConfigMap of the same namespace, for small data sets."""

    name: Name
    key: ObjectKey


class UriSource(Resource):
    """A file that fsspec can open."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.endpoint) || self.url.startsWith('s3://')",
            holds=lambda s: s.endpoint is None or s.url.startswith("s3://"),
            message="spec.dataset.source.uri.endpoint is where S3 is spoken; remove it, or write url as s3://BUCKET/KEY",
            field="endpoint",
        ),
    )

    url: Annotated[
        str,
        Field(
            pattern=r"^\S+$",
            max_length=2048,
            description="s3://BUCKET/KEY, gs://…, abfs://…, https://…; by hand also file:///PATH or a plain path.",
        ),
    ]
    endpoint: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[^\s/?#@]+/?$",
            max_length=253,
            description="Where S3 is spoken, if that is not AWS: https://HOST:PORT of MinIO, Ceph and others.",
        ),
    ] = None
    secret_name: Annotated[
        Name | None,
        Field(description="Secret of the same namespace whose keys are the environment of the store's client."),
    ] = None


class DatasetSource(Resource):
    """Where the rows are."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="(has(self.pvc) ? 1 : 0) + (has(self.configMap) ? 1 : 0) + (has(self.uri) ? 1 : 0) == 1",
            holds=lambda s: [s.pvc, s.config_map, s.uri].count(None) == 2,
            message="spec.dataset.source must have exactly one of pvc, configMap and uri; keep one",
        ),
    )

    pvc: PersistentVolumeClaimSource | None = None
    config_map: ConfigMapSource | None = None
    uri: UriSource | None = None


class DatasetFormat(StrEnum):
    PARQUET = "Parquet"
    CSV = "CSV"
    ARROW = "Arrow"


class LegalBasis(StrEnum):
    """The six of GDPR article 6(1), and data that is of no person."""

    CONSENT = "Consent"
    CONTRACT = "Contract"
    LEGAL_OBLIGATION = "LegalObligation"
    VITAL_INTERESTS = "VitalInterests"
    PUBLIC_TASK = "PublicTask"
    LEGITIMATE_INTERESTS = "LegitimateInterests"
    NOT_PERSONAL_DATA = "NotPersonalData"


class Governance(Resource):
    """Who answers for the data, what it may be used for, where and for how long."""

    owner: Annotated[str, Field(min_length=1, max_length=253, description="Team or person who answers for the data.")]
    purpose: Annotated[str, Field(min_length=1, max_length=1024, description="What the data may be used for.")]
    legal_basis: Annotated[LegalBasis, Field(description="As in GDPR article 6(1), or NotPersonalData.")]
    regions: Annotated[
        list[Annotated[str, Field(pattern=r"^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$", max_length=63)]],
        Field(
            min_length=1,
            max_length=32,
            json_schema_extra=ATOMIC_LIST,
            description="Regions in which the data may be read; nothing is evaluated or stored elsewhere.",
        ),
    ]
    retention_days: Annotated[int, Field(ge=1, le=36_500, description="How long what is made of the rows is kept.")]


class Dataset(Resource):
    """The rows that the model is judged on."""

    source: DatasetSource
    format: Annotated[DatasetFormat | None, Field(description="By the file's suffix if absent.")] = None
    digest: Annotated[
        str | None,
        Field(
            pattern=r"^sha256:[0-9a-f]{64}$",
            max_length=71,
            description="sha256:HEX of the file; another content is refused.",
        ),
    ] = None
    label_column: Annotated[
        Column | None, Field(description="The truth: class, value or relevance. May be absent for a Custom task only.")
    ] = None
    id_column: Annotated[Column | None, Field(description="Names each row, in messages and joins.")] = None
    governance: Governance
