"""`spec.monitoring` of an InferenceService: which requests are sampled, what of them is kept and for how long, and what
the samples are compared with.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from throughline.api.base import ATOMIC_LIST, Name, Number, ObjectKey, Resource, Rule, list_map
from throughline.api.drift import DriftPolicy
from throughline.api.evaluationdataset import Column, Dataset, Governance, LegalBasis, inside_claim
from throughline.api.evaluationtask import two_classes
from throughline.api.schedules import CronText

RESERVED = "sample."  # begins the columns that every stored row has
MINUTES_PER_DAY = 1440
SALT_BYTES = 32  # at least
Tensor = Annotated[str, Field(min_length=1, max_length=253, pattern=r'^[^"\\]+$')]
SampledName = Annotated[str, Field(min_length=1, max_length=253)]
ClassName = Annotated[str, Field(min_length=1, max_length=253)]


def version_parts(version: str) -> tuple[int, ...]:
    """2.58.0dev → (2, 58, 0)."""
    found = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        found.append(int(digits))
    return tuple(found)


class SampledColumn(Resource):
    """One element of a tensor, and the column that it becomes."""

    name: SampledName
    index: Annotated[int, Field(ge=0, le=1_000_000, description="Place among the elements of one batch item, from 0.")]


class SampledField(Resource):
    """A tensor that may be stored."""

    name: Annotated[Tensor, Field(description="The input or output, as the model names it.")]
    columns: Annotated[
        list[SampledColumn],
        Field(
            max_length=256,
            json_schema_extra=list_map("name"),
            description="Only these elements are stored. Empty: all, as NAME where it is one, else NAME.0, NAME.1, … "
            "(at most 256).",
        ),
    ] = []


class SampleStorage(Resource):
    """A folder on a PersistentVolumeClaim of the same namespace; ReadWriteMany where replicas are on several nodes."""

    RULES: ClassVar[tuple[Rule, ...]] = (inside_claim("spec.monitoring.sampling.storage", absent=True),)

    claim_name: Name
    path: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_@=+./-]+$",
            max_length=1024,
            description="Of this service alone: whatever is in it is deleted after the retention.",
        ),
    ] = "samples"


class SaltReference(Resource):
    """A Secret of the same namespace with 32 bytes or more that stay the same. Without them no stored key or pseudonym
    can be found again, nor guessed.
    """

    name: Name
    key: ObjectKey = "salt"


def _keyed(sampling: Sampling) -> int:
    return int(sampling.key_tensor is not None) + int(sampling.use_request_id)


class Sampling(Resource):
    """Which requests are sampled, and what of them is stored. Nothing that is not listed in `fields` is."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!(has(self.keyTensor) && has(self.useRequestId) && self.useRequestId)",
            holds=lambda s: _keyed(s) <= 1,
            message="spec.monitoring.sampling may have keyTensor or useRequestId, not both; remove one",
            field="keyTensor",
        ),
        Rule(
            cel=f"self.governance.legalBasis == '{LegalBasis.NOT_PERSONAL_DATA}' || has(self.keyTensor) || "
            "has(self.useRequestId) && self.useRequestId",
            holds=lambda s: s.governance.legal_basis is LegalBasis.NOT_PERSONAL_DATA or _keyed(s) >= 1,
            message="spec.monitoring.sampling needs keyTensor or useRequestId: personal data must be erasable; add "
            "one, or set governance.legalBasis NotPersonalData if that is so",
            field="governance",
        ),
        Rule(
            cel="!has(self.keyTensor) || self.fields.all(f, f.name != self.keyTensor)",
            holds=lambda s: all(one.name != s.key_tensor for one in s.fields),
            message="spec.monitoring.sampling.fields must not name the keyTensor: the key is stored as a hash only; "
            "remove it from fields",
            field="fields",
        ),
        Rule(
            cel=f"self.fields.all(f, !f.name.startsWith('{RESERVED}') && "
            f"(!has(f.columns) || f.columns.all(c, !c.name.startsWith('{RESERVED}'))))",
            holds=lambda s: all(not n.startswith(RESERVED) for f in s.fields for n in (f.name, *_names(f))),
            message=f"spec.monitoring.sampling.fields must not name anything {RESERVED}…, which every stored row has "
            "already; name the column otherwise",
            field="fields",
        ),
        Rule(
            cel=f"self.retentionMinutes <= self.governance.retentionDays * {MINUTES_PER_DAY}",
            holds=lambda s: s.retention_minutes <= s.governance.retention_days * MINUTES_PER_DAY,
            message="spec.monitoring.sampling.retentionMinutes must not be above governance.retentionDays; lower it",
            field="retentionMinutes",
        ),
    )

    one_in: Annotated[int, Field(ge=1, le=1_000_000_000, description="Every so many-th request of each replica.")]
    fields: Annotated[list[SampledField], Field(min_length=1, max_length=64, json_schema_extra=list_map("name"))]
    redact: Annotated[
        bool,
        Field(description="Personal data whose form can be checked is replaced in text before anything is stored."),
    ] = True
    phone_regions: Annotated[
        list[Annotated[str, Field(pattern=r"^[A-Z]{2}$", max_length=2)]],
        Field(max_length=32, json_schema_extra=ATOMIC_LIST, description="Whose national telephone numbers are known."),
    ] = []
    key_tensor: Annotated[
        Tensor | None, Field(description="Input whose value names the person or case: for erasure and labels.")
    ] = None
    use_request_id: Annotated[bool, Field(description="The id that the client gives the request, instead.")] = False
    salt: Annotated[SaltReference, Field(description="What stored keys and pseudonyms are hashed with.")]
    erasures: Annotated[
        Name | None, Field(description="ConfigMap of the same namespace whose lines are keys to be erased.")
    ] = None
    retention_minutes: Annotated[int, Field(ge=1, le=52_560_000, description="How long a row is kept.")]
    storage: SampleStorage
    storage_mebibytes: Annotated[
        int, Field(ge=1, le=10_000_000, description="More than this is not stored: samples are dropped and counted.")
    ] = 1024
    buffer_mebibytes: Annotated[
        int,
        Field(ge=1, le=65_536, description="Memory for requests that are not redacted yet; what is beyond is dropped."),
    ] = 64
    minimum_server_version: Annotated[
        str,
        Field(
            pattern=r"^[0-9]+[.][0-9]+([.][0-9]+)?$",
            max_length=24,
            description="Older servers are not asked to trace: before 2.58 (25.05) tracing can crash them.",
        ),
    ] = "2.58.0"
    governance: Governance


def _names(field: SampledField) -> list[str]:
    return [column.name for column in field.columns]


class Predictions(Resource):
    """Which of the sampled columns are the model's answer."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.classes) || size(self.classes) == 0 ? size(self.columns) == 1 : "
            "size(self.classes) == size(self.columns)",
            holds=lambda s: len(s.columns) == (len(s.classes) or 1),
            message="spec.monitoring.predictions.columns must be one for each of predictions.classes, or the one that "
            "holds the class, without classes; correct either",
            field="columns",
        ),
        Rule(
            cel="!has(self.accuracyFloor) || has(self.classes) && size(self.classes) > 0",
            holds=lambda s: s.accuracy_floor is None or bool(s.classes),
            message="spec.monitoring.predictions.accuracyFloor needs the probabilities of predictions.classes; add "
            "them or remove it",
            field="accuracyFloor",
        ),
        two_classes("spec.monitoring.predictions.classes"),
    )

    columns: Annotated[
        list[Column],
        Field(
            min_length=1,
            max_length=256,
            json_schema_extra=ATOMIC_LIST,
            description="Probability of each class, in the order of `classes`; or one column with the class itself.",
        ),
    ]
    classes: Annotated[list[ClassName], Field(max_length=256, json_schema_extra=ATOMIC_LIST)] = []
    accuracy_floor: Annotated[
        Number | None, Field(description="What the accuracy estimated without labels must not be below.")
    ] = None


class DriftChecks(Resource):
    """How windows of samples are compared with the baseline."""

    policy: DriftPolicy = DriftPolicy()
    baseline: Annotated[
        Dataset,
        Field(
            description="Rows that traffic should be like, with the sampled columns. With labelColumn and "
            "predictions.classes the accuracy is estimated, too."
        ),
    ]


class Holdout(Resource):
    """Traffic that the model's own decisions do not feed back into."""

    column: Column
    value: Annotated[str, Field(min_length=1, max_length=253, description="Of the rows that are held out, as text.")]


class Labels(Resource):
    """True answers that come later."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.dataset.idColumn) && has(self.dataset.labelColumn)",
            holds=lambda s: s.dataset.id_column is not None and s.dataset.label_column is not None,
            message="spec.monitoring.labels.dataset needs idColumn (with the sampled key) and labelColumn; add both",
            field="dataset",
        ),
    )

    dataset: Annotated[Dataset, Field(description="Grows by rows at its end.")]
    item_column: Annotated[
        Column | None, Field(description="Place of the row in its request, from 0; absent: requests have one row.")
    ] = None
    window_rows: Annotated[int, Field(ge=50, le=10_000_000, description="Labelled rows that are judged together.")] = (
        500
    )
    holdout: Holdout | None = None


class Monitoring(Resource):
    """Samples of live traffic, and what they are checked for."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.labels) || has(self.predictions)",
            holds=lambda s: s.labels is None or s.predictions is not None,
            message="spec.monitoring.predictions is required for spec.monitoring.labels; say which columns are the "
            "model's answer",
            field="labels",
        ),
        Rule(
            cel="!has(self.labels) || has(self.sampling.keyTensor) || "
            "has(self.sampling.useRequestId) && self.sampling.useRequestId",
            holds=lambda s: s.labels is None or _keyed(s.sampling) >= 1,
            message="spec.monitoring.sampling needs keyTensor or useRequestId for spec.monitoring.labels: labels are "
            "joined by it; add one",
            field="sampling",
        ),
    )

    sampling: Sampling
    schedule: Annotated[
        CronText,
        Field(
            description="When the samples are looked at, in UTC, as in a CronJob; a look goes on where the last ended."
        ),
    ] = "*/10 * * * *"
    predictions: Predictions | None = None
    drift: DriftChecks | None = None
    labels: Labels | None = None
