"""Times in resources: text as in RFC 3339, by the API server's own check of the format date-time."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

_FORM = r"\d{4}-\d{2}-\d{2}[Tt]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?([Zz]|[+-]\d{2}:\d{2})"


def _checked(text: str) -> str:
    known = re.fullmatch(_FORM, text, re.ASCII) is not None
    if known:
        try:
            date.fromisoformat(text[:10])
        except ValueError:
            known = False
    if not known:
        raise PydanticCustomError("timestamp", "must be a time as in RFC 3339, such as 2026-01-31T08:00:00Z")
    return text


Timestamp = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"}), AfterValidator(_checked)]
