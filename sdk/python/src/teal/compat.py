"""Lets existing projects load unchanged: ``moose_lib`` and its submodules are this package."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Sequence
from typing import Any

import teal

from .registry import warn

_NAME = "moose_lib"


class Ignored:
    """Stands for what teal has no use for: streams, ingest APIs, workflows. Takes anything."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __class_getitem__(cls, _: Any) -> type[Ignored]:
        return cls

    def __call__(self, *arguments: Any, **_: Any) -> Any:
        # As a decorator it gives back what it decorates.
        return arguments[0] if len(arguments) == 1 and callable(arguments[0]) else self

    def __getattr__(self, name: str) -> Ignored:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, _: Any) -> Ignored:
        return self


class _Module(types.ModuleType):
    """``moose_lib`` or one of its submodules."""

    __path__: list[str] = []  # noqa: RUF012
    __all__ = teal.__all__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in teal.__all__:
            return getattr(teal, name)
        _IGNORED.append(name)
        return type(name, (Ignored,), {})


_IGNORED: list[str] = []


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname == _NAME or fullname.startswith(_NAME + "."):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def install() -> None:
    """First in line, so that one behaviour holds also where the real package is installed."""
    sys.meta_path.insert(0, _Finder())


def warn_of_ignored() -> None:
    """One warning for all that was imported and is of no use here."""
    names = sorted(set(_IGNORED))
    if names:
        warn(f"teal ignores {', '.join(names)}: it manages tables and views only")
