#!/usr/bin/env bash
# pydantic 2.14.4: bounds that stand behind a validator in Annotated are enforced, but their JSON schema is another one:
# the pattern is missing, and ge and multiple_of stand there under these Python names, which JSON Schema does not know
# (minimum, multipleOf). max_length is right in both places. There is no warning.
#
# Guess: a Field's place among the metadata changes when the bound is checked, not what the schema says. Seen: the same
# bounds before and behind AfterValidator. Whoever makes a CRD or an OpenAPI document from the models gives the other
# side a schema that takes less seriously what the model refuses; a structural schema with a key "ge" is refused.
# Output seen:
#   pattern before the validator: {'maxLength': 5, 'pattern': '^a+$', 'type': 'string'}
#   pattern behind the validator: {'maxLength': 5, 'type': 'string'}
#   bounds before the validator: {'minimum': 3, 'multipleOf': 2, 'type': 'integer'}
#   bounds behind the validator: {'ge': 3, 'multiple_of': 2, 'type': 'integer'}
#   refused all the same: ['greater_than_equal', 'string_pattern_mismatch']
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pydantic==2.14.4
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, ValidationError

TEXT, NUMBER = Field(pattern="^a+$", max_length=5), Field(ge=3, multiple_of=2)


class Before(BaseModel):
    text: Annotated[str, TEXT, AfterValidator(str)]
    number: Annotated[int, NUMBER, AfterValidator(int)]


class Behind(BaseModel):
    text: Annotated[str, AfterValidator(str), TEXT]
    number: Annotated[int, AfterValidator(int), NUMBER]


def expect(what, seen, wanted):
    print(f"{what}: {seen}")
    if seen != wanted:
        sys.exit(f"changed: {what} was {wanted}")


def schema(model, field):
    found = model.model_json_schema()["properties"][field]
    return {key: found[key] for key in sorted(found) if key != "title"}


expect("pattern before the validator", schema(Before, "text"), {"maxLength": 5, "pattern": "^a+$", "type": "string"})
expect("pattern behind the validator", schema(Behind, "text"), {"maxLength": 5, "type": "string"})
expect("bounds before the validator", schema(Before, "number"), {"minimum": 3, "multipleOf": 2, "type": "integer"})
expect("bounds behind the validator", schema(Behind, "number"), {"ge": 3, "multiple_of": 2, "type": "integer"})
try:
    Behind(text="zzz", number=1)
    refused = []
except ValidationError as error:
    refused = sorted(one["type"] for one in error.errors())
expect("refused all the same", refused, ["greater_than_equal", "string_pattern_mismatch"])
PYTHON
