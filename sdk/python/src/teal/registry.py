"""What the models declare, in the order of declaration."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))


@dataclass
class Registry:
    #: The directory that locations are relative to.
    project: str = ""
    tables: list[dict[str, Any]] = field(default_factory=list)
    views: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    #: The objects declared, with their locations: the variables that hold them get known later.
    declared: list[tuple[object, dict[str, Any]]] = field(default_factory=list)


REGISTRY = Registry()


class ModelError(Exception):
    """A declaration that is wrong: what, where, and what to write instead."""

    def __init__(
        self, message: str, hint: str | None = None, location: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.location = location or here()


def here() -> dict[str, Any]:
    """The place in the user's code that is being run."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        inside = not REGISTRY.project or file.startswith(REGISTRY.project + os.sep)
        if inside and not file.startswith(_HERE) and os.path.isabs(file):
            return {"file": relative(file), "line": frame.f_lineno}
        if frame.f_back is None:
            break
        frame = frame.f_back
    return {"file": "", "line": 0}


def relative(file: str) -> str:
    path = os.path.relpath(file, REGISTRY.project) if REGISTRY.project else file
    return path.replace(os.sep, "/")


def warn(message: str, hint: str | None = None, location: dict[str, Any] | None = None) -> None:
    warning: dict[str, Any] = {"message": message}
    if hint:
        warning["hint"] = hint
    if location:
        warning["location"] = location
    REGISTRY.warnings.append(warning)
