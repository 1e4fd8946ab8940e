"""What stands for that which teal has no use for: streams, ingest APIs, workflows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from .registry import warn

_IGNORED: set[str] = set()


class _Anything(type):
    """Gives a stand-in for whatever a class is asked for: ``LogLevel.INFO``."""

    def __getattr__(cls, name: str) -> Ignored:
        if name.startswith("_"):
            raise AttributeError(name)
        return Ignored()


class Ignored(metaclass=_Anything):
    """Takes anything."""

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

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.any_schema()


def ignored(name: str) -> Any:
    """A class that stands for ``name``."""
    _IGNORED.add(name)
    return _Anything(name, (Ignored,), {})


def ignored_part(of: str, name: str, given: Any) -> Ignored | None:
    """The part ``name`` of an object of ours, if the models ask for it."""
    if not given:
        return None
    _IGNORED.add(f"the {name} of {of}")
    return Ignored()


def warn_of_ignored() -> None:
    """One warning for all that was imported and is of no use here."""
    if _IGNORED:
        warn(f"teal ignores {', '.join(sorted(_IGNORED))}: it manages tables and views only")
