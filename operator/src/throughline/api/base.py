"""What every resource of the group shares: naming, strictness, and the field types of the Kubernetes conventions."""

from __future__ import annotations

import re
from collections.abc import Callable  # noqa: TC003 - pydantic resolves annotations at run time
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from throughline.api.timestamps import Timestamp

GROUP = "throughline.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule over several fields, in the two places that enforce it: CEL in the API server, Python in `validate` and
    the operator. `$field` in the CEL text stands for the field, or its default where it is absent: the CRD itself
    carries no defaults, so that no user's spec is ever changed. The tests hold both to the same verdict.
    """

    cel: str
    holds: Callable[[Any], bool]
    message: str  # names the field and the fix
    field: str = ""  # wire name of the field to point at
    got: Callable[[Any], str] | None = None  # what breaks it, which `validate` adds; CEL's message is fixed

    def entry(self, defaults: dict[str, Any]) -> dict[str, str]:
        """The `x-kubernetes-validations` entry."""

        def value(match: re.Match[str]) -> str:
            name = match[1]
            default = defaults[name]
            literal = f"'{default}'" if isinstance(default, str) else str(default).lower()  # true, not True
            return f"(has(self.{name}) ? self.{name} : {literal})"

        entry = {"rule": re.sub(r"\$(\w+)", value, self.cel), "message": self.message}
        return {**entry, "fieldPath": f".{self.field}"} if self.field else entry


_WIRE_NAMES = {"by_alias": True, "by_name": False}


class Resource(BaseModel):  # noqa: PLW1641 - pydantic makes __hash__ of frozen models
    """Base of all API objects: camelCase on the wire, snake_case in Python, unknown fields refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    RULES: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Read an object as the API server has it: fields by their name on the wire alone, at every depth. Python's
        own names are for the constructor.
        """
        return super().model_validate(obj, **_WIRE_NAMES | options)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Read JSON as the API server has it; see `model_validate`."""
        return super().model_validate_json(json_data, **_WIRE_NAMES | options)

    def __eq__(self, other: object) -> bool:
        """As pydantic's, for frozen models without private attributes. The same object is asked for most, a hundred
        times in a look at a thousand services, and pydantic would look at every field.
        """
        return self is other or (type(other) is type(self) and self.__dict__ == other.__dict__)

    def to_wire(self) -> dict[str, Any]:
        """The object as Kubernetes sees it: camelCase, without absent fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def as_written(self) -> dict[str, Any]:
        """Without defaults: a version that knows one field more says the same, so a digest or a pod stays as it is."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        for rule in self.RULES:
            if not rule.holds(self):
                message = f"{rule.message}; got {rule.got(self)}" if rule.got else rule.message
                raise PydanticCustomError("rule", "{message}", {"message": message, "field": rule.field})
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, inner: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        reference = handler(inner)
        if cls.RULES:
            schema = handler.resolve_ref_schema(reference)
            defaults = {name: p["default"] for name, p in schema["properties"].items() if "default" in p}
            schema["x-kubernetes-validations"] = [rule.entry(defaults) for rule in cls.RULES]
        return reference


class FieldRules:
    """Rules of one field, as part of its annotation; `self` is the field, and each message names it."""

    def __init__(self, *rules: Rule) -> None:
        self._rules = rules

    def _check(self, value: Any) -> Any:
        for rule in self._rules:
            if not rule.holds(value):
                raise PydanticCustomError("rule", "{message}", {"message": rule.message, "field": ""})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, inner: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(inner), "x-kubernetes-validations": [rule.entry({}) for rule in self._rules]}


def list_map(*keys: str) -> dict[str, Any]:
    """Schema of a list that server-side apply merges by key."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


ATOMIC_LIST: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}

QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"
NUMBER_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T)?$"
MAX_INTEGER = 2**63 - 1  # what is above is no integer to the API server


class _IntOrString:
    """Marks the schema: users write `cpu: 2` as well as `cpu: "2"`."""

    def __init__(self, *, signed: bool = False) -> None:
        self._bounds = {} if signed else {"minimum": 0}

    def __get_pydantic_json_schema__(self, inner: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(inner), "x-kubernetes-int-or-string": True, **self._bounds}


def _quantity_text(value: object) -> object:
    if isinstance(value, float):  # the API server takes an integer or a string here and nothing else
        raise PydanticCustomError("quantity_float", 'write the number in quotes: "{value}"', {"value": value})
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_INTEGER:
        return str(value)
    return value


Quantity = Annotated[
    str,
    Field(pattern=QUANTITY_PATTERN, max_length=24),
    BeforeValidator(_quantity_text),
    _IntOrString(),
]
# A number that counts neither bytes nor cores: 40m is 0.04, and 1Ki means nothing.
Number = Annotated[
    str,
    Field(pattern=NUMBER_PATTERN, max_length=24),
    BeforeValidator(_quantity_text),
    _IntOrString(),
]
# A number of the user's data: it may be below zero, and has no suffix (5m would be five thousandths).
SIGNED_NUMBER_PATTERN = r"^-?[0-9]+(\.[0-9]+)?$"
SignedNumber = Annotated[
    str,
    Field(pattern=SIGNED_NUMBER_PATTERN, max_length=24),
    BeforeValidator(_quantity_text),
    _IntOrString(signed=True),
]
# By the API server's own rules (apimachinery's validation): a DNS subdomain and a DNS label (RFC 1123), and a key
# of a ConfigMap or Secret.
DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
MAX_DNS_LABEL, MAX_DNS_SUBDOMAIN = 63, 253
OBJECT_KEY = r"^([-_a-zA-Z0-9]|\.[-_a-zA-Z0-9])[-._a-zA-Z0-9]*$"
Name = Annotated[str, Field(pattern=DNS_SUBDOMAIN, min_length=1, max_length=MAX_DNS_SUBDOMAIN)]
Label = Annotated[str, Field(pattern=DNS_LABEL, min_length=1, max_length=MAX_DNS_LABEL)]
ObjectKey = Annotated[str, Field(pattern=OBJECT_KEY, min_length=1, max_length=MAX_DNS_SUBDOMAIN)]
# As the kubelet parses it (distribution/reference): upper case in the name of a registry alone.
_HOST_PART = "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
_IMAGE_PART = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
IMAGE_PATTERN = (
    rf"^(({_HOST_PART}(\.{_HOST_PART})+(:[0-9]+)?|{_HOST_PART}:[0-9]+)/)?{_IMAGE_PART}(/{_IMAGE_PART})*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@[A-Za-z][A-Za-z0-9]*([+._-][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?$"
)
Image = Annotated[str, Field(pattern=IMAGE_PATTERN, min_length=1, max_length=512)]


def matches(pattern: str, text: str) -> bool:
    """As RE2 has it, in the API server: `$` is the end of the text, and not before a line break at its end, too."""
    return re.fullmatch(pattern, text) is not None


class ConditionStatus(StrEnum):
    """The three values a Kubernetes condition may have."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Outcome(StrEnum):
    """What became of a bound, or of all of them. Unknown is not passed."""

    PASSED = "Passed"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


class Condition(Resource):
    """A condition of the Kubernetes API conventions (meta/v1 Condition). Every type is healthy when True,
    except Reconciling and Stalled, which kstatus defines the other way round.
    """

    type: Annotated[str, Field(max_length=64)]
    status: ConditionStatus
    reason: Annotated[str, Field(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", max_length=128)]
    message: Annotated[str, Field(max_length=2048)] = ""
    last_transition_time: Timestamp
    observed_generation: Annotated[int, Field(ge=0)] = 0
