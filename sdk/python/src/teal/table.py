"""Tables."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field

from .columns import columns
from .engines import Engine, SqlEngine, as_engine
from .options import Options
from .quote import quote_ident
from .registry import REGISTRY, ModelError, here

Row = TypeVar("Row", bound=BaseModel)


class LifeCycle(Enum):
    """How far teal may change a table."""

    FULLY_MANAGED = "FULLY_MANAGED"
    DELETION_PROTECTED = "DELETION_PROTECTED"
    EXTERNALLY_MANAGED = "EXTERNALLY_MANAGED"


class TableIndex(Options):
    """A data skipping index."""

    name: str
    expression: str
    type: str
    arguments: list[str] = Field(default_factory=list)
    granularity: int = Field(default=1, ge=1, strict=True)


class TableProjection(Options):
    name: str
    body: str


class TableConstraint(Options):
    """``check``: an INSERT must satisfy it; ``assume``: it is taken as true."""

    name: str
    kind: Literal["check", "assume"] = "check"
    expression: str


class SeedFilter(Options):
    limit: int | None = None
    where: str | None = None


def _as_text(value: Any) -> Any:
    """A setting as ClickHouse takes it."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, (int, float)) else value


class OlapConfig(Options):
    """The configuration of a table."""

    version: str | None = None
    order_by_fields: list[str] | None = None
    order_by_expression: str | None = None
    partition_by: str | None = None
    sample_by_expression: str | None = None
    primary_key_expression: str | None = None
    #: An engine object, a ClickHouseEngines, or an engine's name.
    engine: Any = None
    life_cycle: LifeCycle | None = None
    database: str | None = None
    cluster: str | None = None
    #: Numbers and booleans are written as text.
    settings: dict[str, Annotated[str, BeforeValidator(_as_text)]] | None = None
    ttl: str | None = None
    indexes: list[TableIndex] = Field(default_factory=list)
    projections: list[TableProjection] = Field(default_factory=list)
    constraints: list[TableConstraint] = Field(default_factory=list)
    comment: str | None = None
    #: Notes of other tools, and what fills a table for them: teal has no use for them.
    metadata: Any = None
    seed_filter: SeedFilter | None = None


# Projects write `OlapConfig.TableIndex(…)` as well.
setattr(OlapConfig, "TableIndex", TableIndex)  # noqa: B010
setattr(OlapConfig, "TableProjection", TableProjection)  # noqa: B010
setattr(OlapConfig, "SeedFilter", SeedFilter)  # noqa: B010


class Column:
    """A column of a table; in an f-string, its quoted name."""

    def __init__(self, name: str, data_type: str) -> None:
        self.name = name
        self.data_type = data_type

    def __str__(self) -> str:
        return quote_ident(self.name)

    def __format__(self, _spec: str) -> str:
        # Projects write `{events.cols.id:col}` as well.
        return str(self)


class Columns:
    """The columns of a table by name."""

    def __init__(self, table: str, known: list[dict[str, Any]]) -> None:
        self._table = table
        self._columns = {column["name"]: Column(column["name"], column["type"]) for column in known}

    def __getattr__(self, name: str) -> Column:
        try:
            return self._columns[name]
        except KeyError:
            raise AttributeError(f"table {self._table} has no column {name}") from None

    def __getitem__(self, name: str) -> Column:
        return self.__getattr__(name)

    def __contains__(self, name: str) -> bool:
        return name in self._columns


class ColumnNames:
    """The names of the columns, as plain text: the older form of ``Columns``."""

    def __init__(self, columns: Columns) -> None:
        self._of = columns

    def __getattr__(self, name: str) -> str:
        return self._of[name].name


class OlapTable(Generic[Row]):
    """A table, with rows of the model in the brackets: ``OlapTable[Event]("events")``."""

    #: The model of a row.
    _model: ClassVar[type[BaseModel] | None] = None

    if not TYPE_CHECKING:

        def __class_getitem__(cls, model: Any) -> Any:
            # A class of its own, so that the constructor knows the model.
            return type(cls.__name__, (cls,), {"_model": model, "__module__": cls.__module__})

    def __init__(
        self, name: str, config: OlapConfig | None = None, *, t: type[BaseModel] | None = None
    ) -> None:
        location = here()
        if t is not None:
            self._model = t  # type: ignore[misc]
        if config is not None and not isinstance(config, OlapConfig):
            raise ModelError(f"table {name}: its config is no OlapConfig", "write OlapConfig(…)")
        #: The bare logical name.
        self.name = name
        self.config = config or OlapConfig()
        model = self._model
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise ModelError(
                f"table {name}: OlapTable has no row model",
                f'write OlapTable[Row]("{name}"), where Row is a pydantic model',
            )
        known = columns(model)
        self.cols = Columns(name, known)
        self._register(known, location)

    @property
    def physical_name(self) -> str:
        version = self.config.version
        return f"{self.name}_{version.replace('.', '_')}" if version else self.name

    @property
    def columns(self) -> ColumnNames:
        return ColumnNames(self.cols)

    @property
    def model(self) -> type[BaseModel] | None:
        return self._model

    @property
    def model_type(self) -> type[BaseModel] | None:
        return self._model

    def reference(self) -> dict[str, Any]:
        config = self.config
        said = {"name": self.name, "version": config.version or None, "database": config.database}
        return {key: value for key, value in said.items() if value is not None}

    def _register(self, known: list[dict[str, Any]], location: dict[str, Any]) -> None:
        config = self.config
        version = config.version or None
        if version is not None and not re.fullmatch(r"[0-9]{1,18}([._][0-9]{1,18})*", version):
            raise ModelError(
                f"table {self.name}: {version!r} is no version",
                'write numbers with dots between them, of 18 digits at most, such as "0.1"',
            )
        for before in REGISTRY.tables:
            if (before["name"], before.get("version"), before.get("database")) == (
                self.name,
                version,
                config.database,
            ):
                at = before["location"]
                raise ModelError(
                    f"OlapTable with name {self.name} and version {version or 'none'} already "
                    f"exists: declared at {at['file']}:{at['line']}"
                )
        engine = as_engine(config.engine)
        if config.cluster and getattr(engine, "keeper_path", None) is not None:
            raise ModelError(
                f"table {self.name}: with a cluster, the server makes keeper_path and replica_name",
                "give neither",
            )
        document = {
            "name": self.name,
            "version": version,
            "database": config.database,
            "columns": known,
            "engine": engine.document(),
            "orderBy": self._sorting_key(known, engine),
            "primaryKey": config.primary_key_expression,
            "partitionBy": config.partition_by,
            "sampleBy": config.sample_by_expression,
            "ttl": config.ttl,
            "settings": config.settings,
            "indexes": [_index(index) for index in config.indexes] or None,
            "projections": [projection.model_dump() for projection in config.projections] or None,
            "constraints": [constraint.model_dump() for constraint in config.constraints] or None,
            "comment": config.comment,
            "lifeCycle": config.life_cycle.value if config.life_cycle else None,
            "cluster": config.cluster,
            "location": location,
        }
        REGISTRY.tables.append({key: value for key, value in document.items() if value is not None})
        REGISTRY.declared.append((self, location))
        REGISTRY.tables_by_name[f"{self.name}_{version}" if version else self.name] = self

    def _sorting_key(self, known: list[dict[str, Any]], engine: Engine) -> list[str]:
        """The items of the sorting key: the ``Key`` columns where none is given."""
        config = self.config
        fields, expression = config.order_by_fields, config.order_by_expression
        if fields and expression and expression.strip():
            raise ModelError(
                f"table {self.name}: order_by_fields and order_by_expression exclude each other",
                "give one of them",
            )
        if not engine.is_sorted():
            # Of an engine as it stands in SQL, the server knows what it takes.
            partition_by = None if isinstance(engine, SqlEngine) else config.partition_by
            if fields or expression or partition_by:
                raise ModelError(
                    f"table {self.name}: the engine {engine.engine_name} takes no ORDER BY and no "
                    "PARTITION BY"
                )
            return []
        if expression and expression.strip():
            return [_unwrapped(expression)]
        names = [column["name"] for column in known]
        keys = [column["name"] for column in known if column.get("key")]
        # What the primary key is made of is sorted by, at least.
        if not fields and config.primary_key_expression:
            return [_unwrapped(config.primary_key_expression)]
        # An empty list or expression with no key column says that no key is meant.
        if not keys and (fields == [] or expression is not None):
            return ["tuple()"]
        fields = fields or keys
        for name in fields:
            if name not in names:
                raise ModelError(
                    f"table {self.name}: order_by_fields names {name}, which is no column",
                    f"the columns are {', '.join(names)}",
                )
        return [quote_ident(name) for name in fields]


def _unwrapped(expression: str) -> str:
    """``(a, b)`` as ``a, b``, since the key is put in parentheses again."""
    inner = re.fullmatch(r"\s*\(([^()]*)\)\s*", expression)
    return inner.group(1) if inner else expression


def _index(index: TableIndex) -> dict[str, Any]:
    arguments = f"({', '.join(index.arguments)})" if index.arguments else ""
    return {
        "name": index.name,
        "expression": index.expression,
        "type": index.type + arguments,
        "granularity": index.granularity,
    }
