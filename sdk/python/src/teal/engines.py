"""Table engines."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from .quote import quote_ident, quote_string
from .registry import ModelError


class ClickHouseEngines(Enum):
    """Engines by name. One that needs parameters is given as an object."""

    MergeTree = "MergeTree"
    ReplacingMergeTree = "ReplacingMergeTree"
    SummingMergeTree = "SummingMergeTree"
    AggregatingMergeTree = "AggregatingMergeTree"
    CollapsingMergeTree = "CollapsingMergeTree"
    VersionedCollapsingMergeTree = "VersionedCollapsingMergeTree"
    ReplicatedMergeTree = "ReplicatedMergeTree"
    ReplicatedReplacingMergeTree = "ReplicatedReplacingMergeTree"
    ReplicatedSummingMergeTree = "ReplicatedSummingMergeTree"
    ReplicatedAggregatingMergeTree = "ReplicatedAggregatingMergeTree"
    ReplicatedCollapsingMergeTree = "ReplicatedCollapsingMergeTree"
    ReplicatedVersionedCollapsingMergeTree = "ReplicatedVersionedCollapsingMergeTree"
    S3Queue = "S3Queue"
    S3 = "S3"
    Buffer = "Buffer"
    Distributed = "Distributed"
    IcebergS3 = "IcebergS3"
    Kafka = "Kafka"
    Merge = "Merge"


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
class _Replicated(Engine):
    """What comes first among the parameters of a replicated engine."""

    keeper_path: str | None = None
    replica_name: str | None = None


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
        names = [quote_ident(name) for name in self.columns]
        return names if len(names) == 1 else [f"({', '.join(names)})"]


@dataclass
class CollapsingMergeTreeEngine(Engine):
    sign: str = ""

    def arguments(self) -> list[str]:
        return [quote_ident(_needed(self, "sign"))]


@dataclass
class VersionedCollapsingMergeTreeEngine(Engine):
    sign: str = ""
    ver: str = ""

    def arguments(self) -> list[str]:
        return [quote_ident(_needed(self, name)) for name in ("sign", "ver")]


def _needed(engine: Engine, name: str) -> str:
    """A parameter that has no default, behind those of a replicated engine that have one."""
    value: str = getattr(engine, name)
    if not value:
        raise ModelError(f"{engine.engine_name} needs {name}", "name the column")
    return value


@dataclass
class ReplicatedMergeTreeEngine(MergeTreeEngine, _Replicated):
    pass


@dataclass
class ReplicatedAggregatingMergeTreeEngine(AggregatingMergeTreeEngine, _Replicated):
    pass


@dataclass
class ReplicatedReplacingMergeTreeEngine(ReplacingMergeTreeEngine, _Replicated):
    pass


@dataclass
class ReplicatedSummingMergeTreeEngine(SummingMergeTreeEngine, _Replicated):
    pass


@dataclass
class ReplicatedCollapsingMergeTreeEngine(CollapsingMergeTreeEngine, _Replicated):
    pass


@dataclass
class ReplicatedVersionedCollapsingMergeTreeEngine(VersionedCollapsingMergeTreeEngine, _Replicated):
    pass


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


@dataclass
class SqlEngine(Engine):
    """Any engine, as it stands in SQL: its name and its arguments."""

    name: str
    sql_arguments: list[str] = field(default_factory=list)

    @property
    def engine_name(self) -> str:
        return self.name

    def arguments(self) -> list[str]:
        return self.sql_arguments

    def is_sorted(self) -> bool:
        return self.name.endswith("MergeTree")


@dataclass
class _Unsorted(Engine):
    def is_sorted(self) -> bool:
        return False


def _s3(
    path: str, access_key_id: str | None, secret_access_key: str | None, no_sign: bool
) -> list[str]:
    """Where the data is, and who may read it."""
    if no_sign:
        return [quote_string(path), "NOSIGN"]
    if access_key_id is None:
        return [quote_string(path)]
    return [quote_string(text) for text in (path, access_key_id, secret_access_key or "")]


@dataclass
class S3Engine(Engine):
    path: str
    format: str
    aws_access_key_id: str | None = None
    aws_secret_access_key: str | None = None
    compression: str | None = None
    partition_strategy: str | None = None
    partition_columns_in_data_file: str | bool | None = None
    no_sign: bool = False

    def arguments(self) -> list[str]:
        keys = (self.aws_access_key_id, self.aws_secret_access_key)
        rest = [self.format] if self.compression is None else [self.format, self.compression]
        options = []
        if self.partition_strategy is not None:
            options.append(f"partition_strategy = {quote_string(self.partition_strategy)}")
        if self.partition_columns_in_data_file is not None:
            is_true = self.partition_columns_in_data_file in (True, "1", "true")
            options.append(f"partition_columns_in_data_file = {int(is_true)}")
        start = _s3(self.path, *keys, self.no_sign)
        return start + [quote_string(text) for text in rest] + options


@dataclass
class S3QueueEngine(_Unsorted):
    s3_path: str
    format: str
    aws_access_key_id: str | None = None
    aws_secret_access_key: str | None = None
    compression: str | None = None
    headers: dict[str, str] | None = None
    no_sign: bool = False

    def arguments(self) -> list[str]:
        keys = (self.aws_access_key_id, self.aws_secret_access_key)
        rest = [self.format] if self.compression is None else [self.format, self.compression]
        arguments = _s3(self.s3_path, *keys, self.no_sign) + [quote_string(text) for text in rest]
        if self.headers:
            pairs = (f"{quote_string(n)} = {quote_string(v)}" for n, v in self.headers.items())
            arguments.append(f"headers({', '.join(pairs)})")
        return arguments


@dataclass
class IcebergS3Engine(_Unsorted):
    path: str
    format: str
    aws_access_key_id: str | None = None
    aws_secret_access_key: str | None = None
    compression: str | None = None
    no_sign: bool = False

    def arguments(self) -> list[str]:
        keys = (self.aws_access_key_id, self.aws_secret_access_key)
        rest = [self.format] if self.compression is None else [self.format, self.compression]
        return _s3(self.path, *keys, self.no_sign) + [quote_string(text) for text in rest]


@dataclass
class KafkaEngine(_Unsorted):
    broker_list: str
    topic_list: str
    group_name: str
    format: str

    def arguments(self) -> list[str]:
        texts = (self.broker_list, self.topic_list, self.group_name, self.format)
        return [quote_string(text) for text in texts]


@dataclass
class MergeEngine(_Unsorted):
    source_database: str
    tables_regexp: str

    def arguments(self) -> list[str]:
        # A database by name, or as an expression: `currentDatabase()`, `REGEXP('…')`.
        database = self.source_database
        if "(" not in database:
            database = quote_string(database)
        return [database, quote_string(self.tables_regexp)]


@dataclass
class BufferEngine(_Unsorted):
    target_database: str
    target_table: str
    num_layers: int = 16
    min_time: int = 10
    max_time: int = 100
    min_rows: int = 10_000
    max_rows: int = 1_000_000
    min_bytes: int = 10_000_000
    max_bytes: int = 100_000_000
    flush_time: int | None = None
    flush_rows: int | None = None
    flush_bytes: int | None = None

    def arguments(self) -> list[str]:
        limits = (
            self.num_layers,
            self.min_time,
            self.max_time,
            self.min_rows,
            self.max_rows,
            self.min_bytes,
            self.max_bytes,
        )
        flushes = [self.flush_time, self.flush_rows, self.flush_bytes]
        while flushes and flushes[-1] is None:
            flushes.pop()
        if None in flushes:
            raise ModelError(
                "Buffer: flush_rows needs flush_time, and flush_bytes needs both",
                "give those before it too: they are told apart by their place",
            )
        numbers = [*limits, *flushes]
        target = [quote_string(self.target_database), quote_string(self.target_table)]
        return target + [str(number) for number in numbers]


#: Those that need no parameter.
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
    if name in {engine.value for engine in ClickHouseEngines}:
        raise ModelError(f"the engine {name} has parameters", f"give a {name}Engine(…) with them")
    raise ModelError(f"unknown engine {name!r}", f"the engines are {', '.join(_BY_NAME)}")
