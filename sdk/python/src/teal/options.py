"""Options given by name, where an unknown one is an error that names the known ones."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from .registry import ModelError


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    def __init__(self, **options: Any) -> None:
        try:
            super().__init__(**options)
        except ValidationError as error:
            first = error.errors()[0]
            option = ".".join(str(part) for part in first["loc"])
            known = ", ".join(type(self).model_fields)
            given = first["input"]
            hint = f"the options are {known}"
            if first["type"] == "list_type" and isinstance(given, str):
                hint = f'write {option}=["{given}"]'
            if first["type"] == "string_type" and isinstance(given, (int, float)):
                hint = f'write {option}="{given}"'
            raise ModelError(f"{type(self).__name__}: {option}: {first['msg']}", hint) from None
