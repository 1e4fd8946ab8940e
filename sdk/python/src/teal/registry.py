"""What the models declare, in the order of declaration."""

from __future__ import annotations

import itertools
import os
import sys
from dataclasses import dataclass, field
from types import FrameType
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
    #: The same objects by name; a table with a version as ``name_1.0``.
    tables_by_name: dict[str, Any] = field(default_factory=dict)
    views_by_name: dict[str, Any] = field(default_factory=dict)
    materialized_views: dict[str, Any] = field(default_factory=dict)


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
            return {"file": relative(file), "line": frame.f_lineno} | _column(frame)
        if frame.f_back is None:
            break
        frame = frame.f_back
    return {"file": "", "line": 0}


def _column(frame: FrameType) -> dict[str, int]:
    """Where the expression that is being run begins, from Python 3.11 on."""
    positions = getattr(frame.f_code, "co_positions", None)
    if positions is None:
        return {}
    # One instruction is two bytes.
    _, _, column, _ = next(itertools.islice(positions(), frame.f_lasti // 2, None))
    return {} if column is None else {"column": column + 1}


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
