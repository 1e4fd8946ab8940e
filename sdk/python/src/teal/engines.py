"""Table engines."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from .quote import quote_ident, quote_string
from .registry import ModelError


class ClickHouseEngines(Enum):
    """Engines by name, for those without parameters."""

    MergeTree = "MergeTree"
    ReplacingMergeTree = "ReplacingMergeTree"
    SummingMergeTree = "SummingMergeTree"
    AggregatingMergeTree = "AggregatingMergeTree"
    ReplicatedMergeTree = "ReplicatedMergeTree"
    ReplicatedReplacingMergeTree = "ReplicatedReplacingMergeTree"
    ReplicatedSummingMergeTree = "ReplicatedSummingMergeTree"
    ReplicatedAggregatingMergeTree = "ReplicatedAggregatingMergeTree"


@dataclass
class Engine:
    """An engine with its parameters."""

    @property
    def engine_name(self) -> str:
        return type(self).__name__.removesuffix("Engine")

    def arguments(self) -> list[str]:
        """The arguments, each as it stands in SQL."""
        return []

    def is_sorted(self) -> bool:
        """Whether it takes ORDER BY and PARTITION BY."""
        return True

    def document(self) -> dict[str, Any]:
        arguments = self._replica() + self.arguments()
        return {"name": self.engine_name} | ({"arguments": arguments} if arguments else {})

    def _replica(self) -> list[str]:
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        path, replica = given.get("keeper_path"), given.get("replica_name")
        if (path is None) != (replica is None):
            raise ModelError(
                f"{self.engine_name}: keeper_path and replica_name go together",
                "give both or neither",
            )
        if path is None or replica is None:
            return []
        return [quote_string(path), quote_string(replica)]


@dataclass
class MergeTreeEngine(Engine):
    pass


@dataclass
class AggregatingMergeTreeEngine(Engine):
    pass


@dataclass
class ReplacingMergeTreeEngine(Engine):
    ver: str | None = None
    is_deleted: str | None = None

    def arguments(self) -> list[str]:
        if self.is_deleted is not None and self.ver is None:
            raise ModelError(
                f"{self.engine_name}: is_deleted needs ver",
                "name the column that says which row is the last",
            )
        return [quote_ident(name) for name in (self.ver, self.is_deleted) if name is not None]


@dataclass
class SummingMergeTreeEngine(Engine):
    columns: list[str] | None = None

    def arguments(self) -> list[str]:
        if not self.columns:
            return []
        return [f"({', '.join(quote_ident(name) for name in self.columns)})"]


@dataclass
class CollapsingMergeTreeEngine(Engine):
    sign: str

    def arguments(self) -> list[str]:
        return [quote_ident(self.sign)]


@dataclass
class VersionedCollapsingMergeTreeEngine(Engine):
    sign: str
    ver: str

    def arguments(self) -> list[str]:
        return [quote_ident(self.sign), quote_ident(self.ver)]


@dataclass
class ReplicatedMergeTreeEngine(MergeTreeEngine):
    keeper_path: str | None = None
    replica_name: str | None = None


@dataclass
class ReplicatedAggregatingMergeTreeEngine(AggregatingMergeTreeEngine):
    keeper_path: str | None = None
    replica_name: str | None = None


@dataclass
class ReplicatedReplacingMergeTreeEngine(ReplacingMergeTreeEngine):
    keeper_path: str | None = None
    replica_name: str | None = None


@dataclass
class ReplicatedSummingMergeTreeEngine(SummingMergeTreeEngine):
    keeper_path: str | None = None
    replica_name: str | None = None


@dataclass
class ReplicatedCollapsingMergeTreeEngine(CollapsingMergeTreeEngine):
    keeper_path: str | None = None
    replica_name: str | None = None


@dataclass
class ReplicatedVersionedCollapsingMergeTreeEngine(VersionedCollapsingMergeTreeEngine):
    keeper_path: str | None = None
    replica_name: str | None = None


@dataclass
class DistributedEngine(Engine):
    cluster: str
    target_database: str
    target_table: str
    sharding_key: str | None = None
    policy_name: str | None = None

    def arguments(self) -> list[str]:
        names = [self.cluster, self.target_database, self.target_table]
        rest = [self.sharding_key] if self.sharding_key is not None else []
        if self.policy_name is not None:
            rest.append(quote_string(self.policy_name))
        return [quote_string(name) for name in names] + rest

    def is_sorted(self) -> bool:
        return False


_BY_NAME: dict[str, type[Engine]] = {
    "MergeTree": MergeTreeEngine,
    "ReplacingMergeTree": ReplacingMergeTreeEngine,
    "SummingMergeTree": SummingMergeTreeEngine,
    "AggregatingMergeTree": AggregatingMergeTreeEngine,
    "ReplicatedMergeTree": ReplicatedMergeTreeEngine,
    "ReplicatedReplacingMergeTree": ReplicatedReplacingMergeTreeEngine,
    "ReplicatedSummingMergeTree": ReplicatedSummingMergeTreeEngine,
    "ReplicatedAggregatingMergeTree": ReplicatedAggregatingMergeTreeEngine,
}


def as_engine(given: Any) -> Engine:
    """An engine given as an object, by enum or by name."""
    if given is None:
        return MergeTreeEngine()
    if isinstance(given, Engine):
        return given
    name = given.value if isinstance(given, ClickHouseEngines) else given
    if isinstance(name, str) and name in _BY_NAME:
        return _BY_NAME[name]()
    raise ModelError(f"unknown engine {name!r}", f"the engines are {', '.join(_BY_NAME)}")
