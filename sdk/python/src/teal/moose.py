"""What existing projects find in ``moose_lib``, as far as it declares tables and views.

All other names are stand-ins: see ``compat.py``.
"""

from __future__ import annotations

import os
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from .columns import columns
from .engines import Engine, MergeEngine
from .options import Options
from .quote import quote_ident
from .registry import REGISTRY, ModelError
from .stand_in import ignored_part
from .table import Columns, LifeCycle, OlapConfig, OlapTable
from .types import ClickHouseDefault, FixedString
from .view import MaterializedView, View

T = TypeVar("T")
Row = TypeVar("Row", bound=BaseModel)

#: Other names of what this package has.
ClickhouseDefault = ClickHouseDefault
ClickhouseFixedStringSize = FixedString
EngineConfig = Engine
quote_identifier = quote_ident


class JWT(Generic[T]):
    """A value that comes from a signed token; for the table, the value itself."""

    def __class_getitem__(cls, value: Any) -> Any:
        return value


class _WithColumns(type(BaseModel)):  # type: ignore[misc]
    """A class's columns as its attributes, though it has none of those names.

    pydantic would take such an attribute for the default of the field in every subclass, and make
    the field anew of that, without its marks.
    """

    def __getattribute__(cls, name: str) -> Any:
        # Of the class itself: a subclass that is being made has none yet.
        known = type.__getattribute__(cls, "__dict__").get("__teal_columns__")
        if known is not None:
            if name in known:
                return known[name]
            if name == "cols":
                return known
        return super().__getattribute__(name)


class MooseModel(BaseModel, metaclass=_WithColumns):
    """A model whose fields, on the class, are the columns: ``f"SELECT {Event.id}"``."""

    if not TYPE_CHECKING:

        @classmethod
        def __pydantic_init_subclass__(cls, **_: Any) -> None:
            try:
                known = columns(cls)
            except ModelError:
                # It may be the model of a request; one of a table is read again there.
                return
            type.__setattr__(cls, "__teal_columns__", Columns(cls.__name__, known))


class DeadLetterModel(BaseModel, Generic[T]):
    """A row of a table for records that a stream could not take."""

    original_record: Any
    error_message: str
    error_type: str
    failed_at: datetime
    source: Literal["api", "transform", "table"]


class StringToEnumMixin:
    """An enum that takes the names of its members for values."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        if not issubclass(cls, Enum):
            return core_schema.any_schema()
        members = cls.__members__
        return core_schema.no_info_before_validator_function(
            lambda given: members.get(given, given) if isinstance(given, str) else given,
            core_schema.enum_schema(cls, list(members.values())),
        )


class MooseRuntimeEnv:
    """Values that are taken from the environment when the models are loaded."""

    @staticmethod
    def get(name: str) -> str:
        value = os.environ.get(name)
        if value is None:
            raise ModelError(
                f"the environment has no variable {name}, which the models ask for", "set it"
            )
        return value


moose_runtime_env = moose_env_secrets = MooseRuntimeEnv()


class IngestPipelineConfig(Options):
    table: bool | OlapConfig = True
    stream: Any = True
    ingest_api: Any = True
    ingest: Any = None
    dead_letter_queue: Any = True
    #: The version of the table.
    version: str | None = None
    path: str | None = None
    metadata: Any = None
    life_cycle: LifeCycle | None = None


class IngestPipeline(Generic[Row]):
    """A table with a stream and an ingest API before it, of which teal manages the table."""

    _model: ClassVar[type[BaseModel] | None] = None

    if not TYPE_CHECKING:

        def __class_getitem__(cls, model: Any) -> Any:
            return type(cls.__name__, (cls,), {"_model": model, "__module__": cls.__module__})

    def __init__(self, name: str, config: IngestPipelineConfig, **_: Any) -> None:
        self.name = name
        self.config = config
        self.metadata = config.metadata
        self.table: OlapTable[Row] | None = None
        if config.table:
            own = config.table if isinstance(config.table, OlapConfig) else OlapConfig()
            if isinstance(own.engine, MergeEngine):
                raise ModelError(
                    f"pipeline {name}: a table of the engine Merge cannot be written to",
                    "give the table another engine",
                )
            changes = {"version": config.version} if config.version else {}
            if own.life_cycle is None and config.life_cycle is not None:
                changes["life_cycle"] = config.life_cycle  # type: ignore[assignment]
            self.table = OlapTable(name, own.model_copy(update=changes), t=self._model)
            # Its declaration is the pipeline's.
            REGISTRY.declared.append((self, REGISTRY.tables[-1]["location"]))
        self.stream = ignored_part("IngestPipeline", "stream", config.stream)
        api = config.ingest_api if config.ingest is None else config.ingest
        self.ingest_api = ignored_part("IngestPipeline", "ingest_api", api)
        self.dead_letter_queue = ignored_part(
            "IngestPipeline", "dead_letter_queue", config.dead_letter_queue
        )

    @property
    def columns(self) -> Any:
        return self.get_table().columns

    def get_table(self) -> OlapTable[Row]:
        if self.table is None:
            raise ModelError(f"pipeline {self.name}: it has no table", "give it `table=True`")
        return self.table

    def get_stream(self) -> Any:
        return self.stream

    def get_ingest_api(self) -> Any:
        return self.ingest_api

    def get_dead_letter_queue(self) -> Any:
        return self.dead_letter_queue


def get_tables() -> dict[str, OlapTable[Any]]:
    """The tables declared so far; one with a version as ``name_1.0``."""
    return dict(REGISTRY.tables_by_name)


def get_table(name: str) -> OlapTable[Any] | None:
    return get_tables().get(name)


def get_views() -> dict[str, View]:
    return dict(REGISTRY.views_by_name)


def get_view(name: str) -> View | None:
    return get_views().get(name)


def get_materialized_views() -> dict[str, MaterializedView[Any]]:
    return dict(REGISTRY.materialized_views)


def get_materialized_view(name: str) -> MaterializedView[Any] | None:
    return get_materialized_views().get(name)


__all__ = [
    "JWT",
    "ClickhouseDefault",
    "ClickhouseFixedStringSize",
    "Columns",
    "DeadLetterModel",
    "EngineConfig",
    "IngestPipeline",
    "IngestPipelineConfig",
    "MooseModel",
    "MooseRuntimeEnv",
    "StringToEnumMixin",
    "get_materialized_view",
    "get_materialized_views",
    "get_table",
    "get_tables",
    "get_view",
    "get_views",
    "moose_env_secrets",
    "moose_runtime_env",
    "quote_identifier",
]
