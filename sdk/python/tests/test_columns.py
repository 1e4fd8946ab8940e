from __future__ import annotations

import pytest

from .conftest import Extract

HEAD = """
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Generic, Literal, Optional, TypeVar
from uuid import UUID
from pydantic import BaseModel, Field
from teal import *
class Color(Enum):
    RED = "red"
    BLUE = "blue"
class Level(IntEnum):
    LOW = 1
    HIGH = 1000
class Mixed(Enum):
    A = 1
    B = "b"
T = TypeVar("T")
class Box(BaseModel, Generic[T]):
    inside: T
class Paid(BaseModel):
    cents: Annotated[Decimal, clickhouse_decimal(18, 2)]
class Point2(BaseModel):
    x: float
    y: float
"""

TYPES = [
    ("str", "String"),
    ("bytes", "String"),
    ("int", "Int64"),
    ("float", "Float64"),
    ("bool", "Bool"),
    ("datetime", "DateTime"),
    ("date", "Date32"),
    ("Annotated[date, ClickhouseSize(2)]", "Date"),
    ("Annotated[date, ClickhouseSize(4)]", "Date32"),
    ("Annotated[float, ClickhouseSize(4)]", "Float32"),
    ("UUID", "UUID"),
    ("IPv4Address", "IPv4"),
    ("IPv6Address", "IPv6"),
    ("Any", "JSON"),
    ("dict[str, Any]", "JSON"),
    ("dict[int, Any]", "Map(Int64, JSON)"),
    ("dict[str, int]", "Map(String, Int64)"),
    ("list[str]", "Array(String)"),
    ("list[Optional[int]]", "Array(Nullable(Int64))"),
    ("Optional[list[str]]", "Array(String)"),
    ("Optional[str]", "Nullable(String)"),
    ("str | None", "Nullable(String)"),
    ("UInt8", "UInt8"),
    ('Annotated[int, "uint64"]', "UInt64"),
    ("Float32", "Float32"),
    ('Annotated[str, "LowCardinality"]', "LowCardinality(String)"),
    ('Optional[Annotated[str, "LowCardinality"]]', "LowCardinality(Nullable(String))"),
    ('Literal["a", "b"]', "LowCardinality(String)"),
    ("Annotated[Literal['a', 'b'], 'LowCardinality']", "LowCardinality(String)"),
    ('Annotated[date, ClickhouseSize(2), "LowCardinality"]', "LowCardinality(Date)"),
    (
        'Optional[Annotated[float, ClickhouseSize(4), "LowCardinality"]]',
        "LowCardinality(Nullable(Float32))",
    ),
    (
        'Annotated[clickhouse_datetime64(3), "LowCardinality"]',
        "LowCardinality(DateTime64(3))",
    ),
    (
        'simple_aggregated("anyLast", Annotated[str, "LowCardinality"])',
        "SimpleAggregateFunction(anyLast, LowCardinality(String))",
    ),
    (
        'aggregated(Annotated[str, "LowCardinality"], "max", [str])',
        "AggregateFunction(max, String)",
    ),
    ("dict[UInt64, str]", "Map(UInt64, String)"),
    ("Annotated[str, FixedString(16)]", "FixedString(16)"),
    ("clickhouse_decimal(10, 2)", "Decimal(10, 2)"),
    ("Annotated[Decimal, Field(max_digits=12, decimal_places=3)]", "Decimal(12, 3)"),
    (
        "Annotated[Decimal, Field(max_digits=12, decimal_places=3)] | None",
        "Nullable(Decimal(12, 3))",
    ),
    (
        "dict[str, list[Annotated[Decimal, Field(max_digits=12, decimal_places=3)]]]",
        "Map(String, Array(Decimal(12, 3)))",
    ),
    ("clickhouse_datetime64(3)", "DateTime64(3)"),
    ("Annotated[Decimal, clickhouse_decimal(18, 2)]", "Decimal(18, 2)"),
    ("Annotated[Optional[Decimal], clickhouse_decimal(18, 2)]", "Nullable(Decimal(18, 2))"),
    ("Annotated[datetime, clickhouse_datetime64(3)]", "DateTime64(3)"),
    ("list[Annotated[datetime, clickhouse_datetime64(3)]]", "Array(DateTime64(3))"),
    ("Paid", "Nested(cents Decimal(18, 2))"),
    ("Annotated[int, UInt64]", "UInt64"),
    ("Annotated[UInt8, UInt64]", "UInt64"),
    (
        'simple_aggregated("sum", clickhouse_decimal(18, 2))',
        "SimpleAggregateFunction(sum, Decimal(18, 2))",
    ),
    (
        'Annotated[datetime, aggregated(datetime, "max", [clickhouse_datetime64(3)])]',
        "AggregateFunction(max, DateTime64(3))",
    ),
    ("Color", "Enum8('red' = 1, 'blue' = 2)"),
    ("Level", "Enum16('LOW' = 1, 'HIGH' = 1000)"),
    ("Point2", "Nested(x Float64, y Float64)"),
    ('Annotated[Point2, "ClickHouseNamedTuple"]', "Tuple(x Float64, y Float64)"),
    ('Annotated[list[tuple], "Polygon"]', "Polygon"),
    ('simple_aggregated("sum", int)', "SimpleAggregateFunction(sum, Int64)"),
    ('aggregated(float, "avg", [float])', "AggregateFunction(avg, Float64)"),
    ("Annotated[Any, ClickHouseJson(max_dynamic_paths=8)]", "JSON(max_dynamic_paths=8)"),
    ("Key[str]", "String"),
    ("Box[int]", "Nested(inside Int64)"),
    ("list[Point2]", "Array(Nested(x Float64, y Float64))"),
    ("int = 3", "Int64"),
]


@pytest.mark.parametrize(("annotation", "expected"), TYPES)
def test_a_type_becomes_its_clickhouse_type(
    extract: Extract, annotation: str, expected: str
) -> None:
    document = extract(
        f"{HEAD}\nclass Row(BaseModel):\n    id: str\n    value: {annotation}\n"
        'table = OlapTable[Row]("t", config=OlapConfig(order_by_fields=["id"]))\n'
    )
    assert "error" not in document, document
    assert document["tables"][0]["columns"][1]["type"] == expected


def test_modifiers_become_clauses(extract: Extract) -> None:
    document = extract(
        f"""{HEAD}
class Row(BaseModel):
    id: Key[str] = Field(description="The id")
    made: Annotated[datetime, clickhouse_default("now()")]
    maybe: Annotated[Optional[int], clickhouse_default("1")]
    double: Annotated[int, ClickHouseMaterialized("2 * maybe")]
    packed: Annotated[str, ClickHouseCodec("ZSTD(3)"), ClickHouseTTL("made + INTERVAL 1 DAY")]
    renamed: str = Field(alias="other name")
    city: Annotated[str, RenamedFrom("town")]
table = OlapTable[Row]("t")
"""
    )
    assert "error" not in document, document
    columns = {column["name"]: column for column in document["tables"][0]["columns"]}
    assert columns["id"] == {"name": "id", "type": "String", "key": True, "comment": "The id"}
    assert columns["made"]["default"] == {"kind": "default", "expression": "now()"}
    assert columns["maybe"]["type"] == "Int64"
    assert columns["double"]["default"]["kind"] == "materialized"
    assert columns["packed"]["codec"] == "ZSTD(3)"
    assert columns["city"]["renamedFrom"] == "town"
    assert columns["packed"]["ttl"] == "made + INTERVAL 1 DAY"
    assert "other name" in columns
    # The key columns are the sorting key where none is given.
    assert document["tables"][0]["orderBy"] == ["`id`"]


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ("complex", "complex has no ClickHouse type"),
        ("int | str", "union of several types"),
        ("Literal[1, 2]", "Literal of other values"),
        ("Mixed", "several types"),
        ("tuple[int, str]", "no ClickHouse type"),
        ("set[str]", "no ClickHouse type"),
        ("Box[T]", "no ClickHouse type"),
        (
            'Annotated[int, clickhouse_default("1"), ClickHouseAlias("2")]',
            "exclude each other",
        ),
        ("Annotated[float, clickhouse_decimal(18, 2)]", "stands in the Annotated of float"),
        ("Annotated[list[int], UInt64]", "stands in the Annotated of list[int]"),
        ("Annotated[str, ClickHouseCodec]", "ClickHouseCodec in Annotated says nothing"),
        ("Annotated[datetime, clickhouse_datetime64]", "clickhouse_datetime64 in Annotated"),
    ],
)
def test_a_type_without_a_clickhouse_type_is_named_with_its_column(
    extract: Extract, annotation: str, said: str
) -> None:
    document = extract(
        f"{HEAD}\nclass Row(BaseModel):\n    model_config = {{'arbitrary_types_allowed': True}}\n"
        f'    id: str\n    odd: {annotation}\ntable = OlapTable[Row]("t")\n'
    )
    error = document["error"]
    assert said in error["message"] and "Row.odd" in error["message"]
    assert error["location"]["file"] == "app/models.py"
    assert error["hint"]


def test_docstrings_aliases_and_inherited_fields_become_columns(extract: Extract) -> None:
    document = extract(
        f"""{HEAD}
from typing import ClassVar
from pydantic import ConfigDict, PrivateAttr
from pydantic.alias_generators import to_camel
class Base(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, alias_generator=to_camel)
    made_at: datetime
    \"\"\"When it was made.\"\"\"
class Row(Base):
    id: Key[str]
    LIMIT: ClassVar[int] = 3
    _private: int = PrivateAttr(1)
table = OlapTable[Row]("t")
"""
    )
    assert "error" not in document, document
    assert document["tables"][0]["columns"] == [
        {"name": "madeAt", "type": "DateTime", "comment": "When it was made."},
        {"name": "id", "type": "String", "key": True},
    ]


def test_a_modifier_within_another_type_is_warned_of(extract: Extract) -> None:
    document = extract(
        f"""{HEAD}
class Part(BaseModel):
    made: Annotated[datetime, clickhouse_default("now()")]
class Row(BaseModel):
    id: Key[str]
    parts: list[Part]
table = OlapTable[Row]("t")
"""
    )
    [warning] = document["warnings"]
    assert "Row.parts.made: ClickHouseDefault has no effect" in warning["message"]


def test_a_model_within_itself_is_an_error(extract: Extract) -> None:
    document = extract(
        f"""{HEAD}
class Node(BaseModel):
    id: str
    below: Optional["Node"] = None
table = OlapTable[Node]("t")
"""
    )
    assert "contains itself" in document["error"]["message"]
