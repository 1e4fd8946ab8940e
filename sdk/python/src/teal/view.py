"""Views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel

from .options import Options
from .registry import REGISTRY, ModelError, here, warn
from .table import LifeCycle, OlapConfig, OlapTable

Row = TypeVar("Row", bound=BaseModel)


class MaterializedViewOptions(Options):
    select_statement: str
    #: The tables that the SELECT reads.
    select_tables: list[Any]
    materialized_view_name: str
    table_name: str | None = None
    engine: Any = None
    order_by_fields: list[str] | None = None
    life_cycle: LifeCycle | None = None
    database: str | None = None
    #: Notes of other tools: teal has no use for them.
    metadata: Any = None


class MaterializedView(Generic[Row]):
    """Forwards what is inserted into the tables that it reads to its target."""

    _model: ClassVar[type[BaseModel] | None] = None

    if not TYPE_CHECKING:

        def __class_getitem__(cls, model: Any) -> Any:
            return type(cls.__name__, (cls,), {"_model": model, "__module__": cls.__module__})

    def __init__(
        self, options: MaterializedViewOptions, target_table: OlapTable[Row] | None = None
    ) -> None:
        location = here()
        self.name = options.materialized_view_name
        self.config = options
        self.select_sql = options.select_statement
        self.target_table = target_table or self._own_target(options)
        target = self.target_table
        if target.name == self.name:
            raise ModelError(
                f"view {self.name}: it has the name of its target table",
                "give the view another name",
            )
        if self._model is not None and target.model is not self._model:
            rows = getattr(target.model, "__name__", "nothing")
            raise ModelError(
                f"view {self.name}: its rows are of {self._model.__name__}, and its target "
                f"{target.physical_name} has rows of {rows}",
                "declare the view with the target's model",
            )
        for table in options.select_tables:
            if not isinstance(table, (OlapTable, View)):
                raise ModelError(
                    f"view {self.name}: select_tables has {table!r}, which is no OlapTable",
                    "list the tables that the SELECT reads",
                )
        view = {
            "name": self.name,
            "database": options.database,
            "select": options.select_statement,
            "selectTables": [
                table.reference() for table in options.select_tables if isinstance(table, OlapTable)
            ],
            "target": target.reference(),
            "lifeCycle": options.life_cycle.value if options.life_cycle else None,
            "location": location,
        }
        REGISTRY.views.append({key: value for key, value in view.items() if value is not None})
        REGISTRY.declared.append((self, location))
        REGISTRY.materialized_views[self.name] = self

    def _own_target(self, options: MaterializedViewOptions) -> OlapTable[Row]:
        if not options.table_name:
            raise ModelError(f"view {self.name}: it has no target", "give it a target_table")
        warn(
            f"view {self.name}: its target {options.table_name} is given by name alone, so it is a "
            "table without a version",
            "declare the target as an OlapTable with a version",
            here(),
        )
        config = OlapConfig(engine=options.engine, order_by_fields=options.order_by_fields)
        made: OlapTable[Row] = OlapTable[self._model](options.table_name, config=config)  # type: ignore[name-defined]
        return made


class View:
    """A plain view: a SELECT with a name."""

    def __init__(
        self,
        name: str,
        select_statement: str,
        base_tables: list[Any],
        database: str | None = None,
        metadata: Any = None,
    ) -> None:
        location = here()
        self.name = name
        self.database = database
        self.select_statement = self.select_sql = select_statement
        self.base_tables = base_tables
        self.metadata = metadata
        tables = [table.reference() for table in base_tables if isinstance(table, OlapTable)]
        view: dict[str, Any] = {
            "name": name,
            "select": select_statement,
            "selectTables": tables,
            "location": location,
        }
        if database:
            view["database"] = database
        REGISTRY.views.append(view)
        REGISTRY.declared.append((self, location))
        REGISTRY.views_by_name[name] = self


class SqlResource:
    """Statements to set something up and tear it down. teal does not run them."""

    def __init__(self, name: str, setup: list[str], teardown: list[str], **_: Any) -> None:
        self.name = name
        self.setup = setup
        self.teardown = teardown
        warn(f"SqlResource {name} is not run by teal", location=here())
