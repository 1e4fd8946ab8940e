"""Projects written for the compatibility name load unchanged."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import Extract

MODELS = """
from datetime import datetime
from typing import Annotated, Any, Optional
from pydantic import BaseModel, Field
from moose_lib import *
class Row(BaseModel):
    id: Key[str]
    n: int
"""


def loaded(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    assert "error" not in document, document
    return {table["name"]: table for table in document["tables"]}


def types(table: dict[str, Any]) -> str:
    return ", ".join(f"{column['name']} {column['type']}" for column in table["columns"])


def test_a_pipeline_declares_its_table_which_views_read(extract: Extract) -> None:
    document = extract(
        {
            "main.py": "import app.views.total\nimport app.ingest.models\n",
            "ingest/models.py": """
from datetime import datetime
from moose_lib import (Key, IngestPipeline, IngestPipelineConfig, LifeCycle, OlapConfig, OlapTable,
                       DeadLetterModel, StreamConfig)
from moose_lib.blocks import ReplacingMergeTreeEngine
from pydantic import BaseModel
class Foo(BaseModel):
    primary_key: Key[str]
class Bar(BaseModel):
    primary_key: Key[str]
    at: datetime
dead = OlapTable[DeadLetterModel]("dead", OlapConfig(order_by_fields=["failed_at"]))
foo = IngestPipeline[Foo]("Foo", IngestPipelineConfig(
    ingest_api=True, stream=True, table=False,
    dead_letter_queue=StreamConfig(destination=dead)))
bar = IngestPipeline[Bar]("Bar", IngestPipelineConfig(
    ingest_api=False, stream=True, dead_letter_queue=False, version="1.0",
    life_cycle=LifeCycle.DELETION_PROTECTED,
    table=OlapConfig(engine=ReplacingMergeTreeEngine(ver="at"), metadata={"a": 1},
                     seed_filter=OlapConfig.SeedFilter(limit=1))))
foo.get_stream().add_transform(bar.get_stream(), lambda record: record)
""",
            "views/total.py": """
from moose_lib import Key, MaterializedView, MaterializedViewOptions, get_table, get_tables
from app.ingest.models import bar
from pydantic import BaseModel
class Total(BaseModel):
    day: int
table = get_table("Bar_1.0")
assert table is bar.table and set(get_tables()) == {"dead", "Bar_1.0"}
assert (bar.columns.at, f"{table.cols['at']}", table.model_type.__name__) == ("at", "`at`", "Bar")
total = MaterializedView[Total](MaterializedViewOptions(
    select_statement=f"SELECT toDayOfMonth({table.cols.at:col}) AS day FROM {table.name}",
    select_tables=[table], table_name="Total", materialized_view_name="total_mv", metadata={},
    order_by_fields=["day"]))
""",
        }
    )
    tables = loaded(document)
    assert list(tables) == ["dead", "Bar", "Total"]
    assert types(tables["dead"]) == (
        "original_record JSON, error_message String, error_type String, failed_at DateTime, "
        "source LowCardinality(String)"
    )
    table = tables["Bar"]
    assert (table["version"], table["orderBy"]) == ("1.0", ["`primary_key`"])
    assert table["engine"] == {"name": "ReplacingMergeTree", "arguments": ["`at`"]}
    assert table["lifeCycle"] == "DELETION_PROTECTED"
    assert table["location"]["declaration"] == "bar"
    (view,) = document["views"]
    assert view["select"] == "SELECT toDayOfMonth(`at`) AS day FROM Bar"
    assert view["selectTables"] == [{"name": "Bar", "version": "1.0"}]
    assert any("the stream of IngestPipeline" in w["message"] for w in document["warnings"])


def test_a_pipeline_has_a_table_unless_told_otherwise(extract: Extract) -> None:
    tables = loaded(extract(MODELS + 'p = IngestPipeline[Row]("t", IngestPipelineConfig())'))
    assert types(tables["t"]) == "id String, n Int64"
    document = extract(
        MODELS
        + 'table = OlapConfig(engine=MergeEngine("d", "x"))\n'
        + 'IngestPipeline[Row]("t", IngestPipelineConfig(table=table))'
    )
    assert "cannot be written to" in document["error"]["message"]


def test_the_columns_of_a_moose_model_stand_on_its_class(extract: Extract) -> None:
    document = extract(
        MODELS
        + """
class Event(MooseModel):
    id: Key[str]
    amount: float = Field(alias="Amount")
class More(Event):
    note: Optional[str] = None
class Request(MooseModel):
    either: int | str
class Level(StringToEnumMixin, str, __import__("enum").Enum):
    LOW = "low"
class Leveled(BaseModel):
    level: Level
assert Leveled(level="LOW").level is Level.LOW and Leveled(level="low").level is Level.LOW
assert f"{Event.id} {Event.cols.Amount} {More.note}" == "`id` `Amount` `note`"
assert Event(id="x", Amount=1).id == "x"
events, more = OlapTable[Event]("events"), OlapTable("more", t=More)
"""
    )
    tables = loaded(document)
    assert types(tables["events"]) == "id String, Amount Float64"
    assert types(tables["more"]) == "id String, Amount Float64, note Nullable(String)"


def test_a_subclass_of_a_moose_model_has_the_columns_as_they_are_declared(
    extract: Extract,
) -> None:
    fields = """
    id: Key[str]
    price: clickhouse_decimal(18, 4)
    town: Annotated[str, "LowCardinality"]
    n: UInt8
    at: clickhouse_datetime64(3) = Field(description="when")
    text: Annotated[str, ClickHouseDefault("'x'"), ClickHouseCodec("ZSTD(3)")] = "y"
    was: Annotated[str, RenamedFrom("old"), ClickHouseTTL("at + INTERVAL 1 DAY")]
    paid: Decimal = Field(max_digits=18, decimal_places=4)
    cols: int
    json: str
"""
    kinds = [
        f"class {base}Row({base}):{fields}"
        f"class {base}More({base}Row):\n    n: UInt16\n    note: Optional[str] = None\n"
        f"class {base}Most({base}More): pass\n"
        f'OlapTable[{base}Most]("{base}")\n'
        for base in ("MooseModel", "BaseModel")
    ]
    document = extract(
        MODELS
        + "from decimal import Decimal\nfrom teal import *\n"
        + "".join(kinds)
        + """
assert f"{MooseModelMost.id} {MooseModelRow.json} {MooseModelMore.cols}" == "`id` `json` `cols`"
given = {name: "1" for name in ("id", "price", "town", "n", "at", "was", "paid", "cols", "json")}
assert MooseModelMost(**given).text == "y" and MooseModelMost(**given).note is None
"""
    )
    tables = loaded(document)
    columns = tables["MooseModel"]["columns"]
    assert columns == tables["BaseModel"]["columns"]
    assert [column["name"] for column in columns if column.get("key")] == ["id"]
    assert "price Decimal(18, 4), town LowCardinality(String), n UInt16" in types(
        tables["MooseModel"]
    )


def test_aliases_of_types_stand_for_what_they_name(extract: Extract) -> None:
    # What the `type` statement of Python 3.12 makes.
    document = extract(
        MODELS
        + """
from typing import TypeVar
from typing_extensions import TypeAliasType
T = TypeVar("T")
Mac = TypeAliasType("Mac", Annotated[str, FixedString(17)])
Id = TypeAliasType("Id", Key[T], type_params=(T,))
Same = TypeAliasType("Same", T, type_params=(T,))
Many = TypeAliasType("Many", list[Same[T]], type_params=(T,))
class Aliased(BaseModel):
    id: Id[UInt64]
    mac: Mac
    maybe: Optional[Mac]
    many: Many[Mac]
    same: Same[Annotated[str, "LowCardinality"]]
OlapTable[Aliased]("t")
"""
    )
    table = loaded(document)["t"]
    assert types(table) == (
        "id UInt64, mac FixedString(17), maybe Nullable(FixedString(17)), "
        "many Array(FixedString(17)), same LowCardinality(String)"
    )
    assert table["orderBy"] == ["`id`"]


def test_the_real_package_is_not_loaded_where_it_is_installed(
    extract: Extract, tmp_path: Path
) -> None:
    for name in ("moose_lib", "moose_lib/dmv2"):
        package = tmp_path / "project" / name / "__init__.py"
        package.parent.mkdir(parents=True)
        package.write_text('raise RuntimeError("the real one")\n')
    document = extract(MODELS + 'from moose_lib.dmv2 import OlapTable\nOlapTable[Row]("t")\n')
    assert list(loaded(document)) == ["t"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement is of Python 3.12")
def test_the_type_statement(extract: Extract) -> None:
    document = extract(
        MODELS
        + """
type Mac = Annotated[str, FixedString(17)]
type Id[T] = Key[T]
class Aliased(BaseModel):
    id: Id[str]
    mac: Mac
OlapTable[Aliased]("t")
"""
    )
    assert types(loaded(document)["t"]) == "id String, mac FixedString(17)"


def test_more_names_and_types(extract: Extract) -> None:
    document = extract(
        MODELS
        + """
from moose_lib.data_models import ClickHouseJson, ClickhouseDefault, ClickhouseFixedStringSize
from moose_lib.utilities.sql import quote_identifier
class Payload(BaseModel):
    name: str
class Wide(BaseModel):
    id: Key[str]
    f: Float64
    at: Point
    around: Optional[MultiPolygon] = None
    extra: Optional[dict[str, Any]] = None
    json: Annotated[Payload, ClickHouseJson(max_dynamic_paths=2, skip_regexps=("^a",))]
    jwt: JWT[str]
    size: Annotated[str, ClickhouseFixedStringSize(4), ClickhouseDefault("'abcd'")]
OlapTable[Wide]("t")
class Computed(BaseModel):
    at: datetime
    day: Annotated[datetime, ClickHouseAlias("toDate(at)")]
    hour: Annotated[int, ClickHouseMaterialized("toHour(at)")]
assert Computed(at="2026-01-01T00:00:00").day is None
View("v", f"SELECT {quote_identifier('id')} FROM t", [get_table("t")], database="db", metadata={})
assert get_view("v").database == "db" and get_materialized_views() == {}
"""
    )
    assert types(loaded(document)["t"]) == (
        "id String, f Float64, at Point, around MultiPolygon, extra Nullable(JSON), "
        "json JSON(max_dynamic_paths=2, name String, SKIP REGEXP '^a'), jwt String, "
        "size FixedString(4)"
    )
    assert document["views"][0]["database"] == "db"


def test_engines_have_all_their_parameters_in_their_order(extract: Extract) -> None:
    document = extract(
        MODELS
        + """
import os
os.environ["TEAL_TEST_KEY"] = "k"
engines = {
    "replacing": ReplicatedReplacingMergeTreeEngine("/p", "{r}", ver="n"),
    "collapsing": ReplicatedCollapsingMergeTreeEngine("/p", "{r}", sign="n"),
    "versioned": ReplicatedVersionedCollapsingMergeTreeEngine(sign="n", ver="n"),
    "s3": S3Engine("p", "CSV", no_sign=True, partition_strategy="hive",
                   partition_columns_in_data_file="1"),
    "queue": S3QueueEngine("p", "CSV", moose_runtime_env.get("TEAL_TEST_KEY"), "s",
                           headers={"a": "b"}),
    "iceberg": IcebergS3Engine("p", "Parquet", compression="zstd"),
    "merge": MergeEngine("currentDatabase()", "^a"),
    "other": MergeEngine("db", "^a"),
    "buffer": BufferEngine("d", "t", flush_time=1, flush_rows=2),
    "enum": ClickHouseEngines.SummingMergeTree,
}
for name, engine in engines.items():
    OlapTable[Row](name, OlapConfig(engine=engine))
"""
    )
    found = {name: table["engine"].get("arguments", []) for name, table in loaded(document).items()}
    assert found == {
        "replacing": ["'/p'", "'{r}'", "`n`"],
        "collapsing": ["'/p'", "'{r}'", "`n`"],
        "versioned": ["`n`", "`n`"],
        "s3": [
            "'p'",
            "NOSIGN",
            "'CSV'",
            "partition_strategy = 'hive'",
            "partition_columns_in_data_file = 1",
        ],
        "queue": ["'p'", "'k'", "'s'", "'CSV'", "headers('a' = 'b')"],
        "iceberg": ["'p'", "'Parquet'", "'zstd'"],
        "merge": ["currentDatabase()", "'^a'"],
        "other": ["'db'", "'^a'"],
        "buffer": [
            *("'d'", "'t'", "16", "10", "100", "10000", "1000000", "10000000", "100000000"),
            *("1", "2"),
        ],
        "enum": [],
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CollapsingMergeTreeEngine()", "CollapsingMergeTree needs sign"),
        ("ClickHouseEngines.S3", "the engine S3 has parameters"),
        ('BufferEngine("d", "t", flush_rows=2)', "flush_rows needs flush_time"),
        ('moose_runtime_env.get("TEAL_TEST_NOT_SET")', "TEAL_TEST_NOT_SET"),
    ],
)
def test_what_an_engine_lacks_is_named(extract: Extract, text: str, said: str) -> None:
    document = extract(f'{MODELS}OlapTable[Row]("t", OlapConfig(engine={text}))\n')
    assert said in document["error"]["message"]
    assert document["error"]["location"]["file"] == "app/models.py"


def test_what_the_key_is_where_no_order_is_given(extract: Extract) -> None:
    document = extract(
        MODELS
        + """
class Plain(BaseModel):
    id: str
OlapTable[Row]("keys", OlapConfig(order_by_fields=[]))
OlapTable[Row]("both", OlapConfig(order_by_fields=["id"], order_by_expression=""))
OlapTable[Row]("primary", OlapConfig(primary_key_expression="(n, id)"))
OlapTable[Plain]("none", OlapConfig(order_by_fields=[]))
"""
    )
    assert {name: table["orderBy"] for name, table in loaded(document).items()} == {
        "keys": ["`id`"],
        "both": ["`id`"],
        "primary": ["n, id"],
        "none": ["tuple()"],
    }


def test_stand_ins_take_whatever_modules_do_with_them(extract: Extract) -> None:
    document = extract(
        """
from moose_lib import Key, OlapTable, Stream, LogLevel, MooseClient, config_registry
from moose_lib.dmv2.web_app_helpers import get_moose_utils
from pydantic import BaseModel
class Row(BaseModel):
    id: Key[str]
class Uses(BaseModel):
    client: MooseClient
class Mine(Stream[Row]):
    more = 1
level, host = LogLevel.INFO, config_registry.get_clickhouse_config().host
for consumer in Mine("s").consumers:
    raise RuntimeError
@get_moose_utils
def handler(): ...
t = OlapTable[Row]("t")
"""
    )
    assert list(loaded(document)) == ["t"]
    (warning,) = document["warnings"]
    assert warning["message"].startswith("teal ignores LogLevel, MooseClient, Stream, config_")
