"""Lets existing projects load unchanged: ``moose_lib`` and its submodules are this package."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Sequence
from typing import Any

import teal

from . import moose
from .stand_in import ignored

_NAME = "moose_lib"

#: What else `from moose_lib import *` has to bring.
_OTHERS = [
    "Api",
    "ApiConfig",
    "ApiUtil",
    "ConsumerConfig",
    "ConsumptionApi",
    "DeadLetterQueue",
    "EgressConfig",
    "IngestApi",
    "IngestConfig",
    "InsertOptions",
    "Logger",
    "MooseCache",
    "MooseClient",
    "Query",
    "Stream",
    "StreamConfig",
    "Task",
    "TaskConfig",
    "TaskContext",
    "TransformConfig",
    "WebApp",
    "WebAppConfig",
    "WebAppMetadata",
    "Workflow",
    "WorkflowConfig",
    "cli_log",
    "get_moose_utils",
]


class _Module(types.ModuleType):
    """``moose_lib`` or one of its submodules."""

    __path__: list[str] = []  # noqa: RUF012
    __all__ = (*teal.__all__, *moose.__all__, *_OTHERS)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        for package in (moose, teal):
            if name in package.__all__:
                return getattr(package, name)
        return ignored(name)


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
