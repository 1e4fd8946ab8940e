"""Markers that carry ClickHouse's types and modifiers, for use in ``Annotated``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

T = TypeVar("T")


@dataclass(frozen=True)
class KeyMarker:
    """A column of the key: the sorting key where none is given."""


Key = Annotated[T, KeyMarker()]

Int8 = Annotated[int, "int8"]
Int16 = Annotated[int, "int16"]
Int32 = Annotated[int, "int32"]
Int64 = Annotated[int, "int64"]
UInt8 = Annotated[int, "uint8"]
UInt16 = Annotated[int, "uint16"]
UInt32 = Annotated[int, "uint32"]
UInt64 = Annotated[int, "uint64"]
Float32 = Annotated[float, "float32"]
Float64 = Annotated[float, "float64"]

Point = Annotated[tuple[float, float], "Point"]
Ring = Annotated[list[tuple[float, float]], "Ring"]
LineString = Annotated[list[tuple[float, float]], "LineString"]
MultiLineString = Annotated[list[list[tuple[float, float]]], "MultiLineString"]
Polygon = Annotated[list[list[tuple[float, float]]], "Polygon"]
MultiPolygon = Annotated[list[list[list[tuple[float, float]]]], "MultiPolygon"]


@dataclass(frozen=True)
class ClickhouseSize:
    """Bytes of a value: 4 on a float is Float32, 2 on a date is Date."""

    size: int


@dataclass(frozen=True)
class ClickhousePrecision:
    """Digits of a second, on a datetime."""

    precision: int


@dataclass(frozen=True)
class DecimalSize:
    precision: int
    scale: int


@dataclass(frozen=True)
class FixedString:
    """``FixedString(N)``, on a str or bytes."""

    size: int


@dataclass(frozen=True)
class ClickHouseDefault:
    expression: str


class _Computed:
    """What the server computes can be left out of a row."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        value = core_schema.nullable_schema(handler(source))
        return core_schema.with_default_schema(value, default=None)


@dataclass(frozen=True)
class ClickHouseMaterialized(_Computed):
    expression: str


@dataclass(frozen=True)
class ClickHouseAlias(_Computed):
    expression: str


@dataclass(frozen=True)
class ClickHouseEphemeral:
    expression: str


@dataclass(frozen=True)
class ClickHouseType:
    """Any type of ClickHouse's, as it writes it: ``ClickHouseType("DateTime64(3, 'UTC')")``."""

    text: str


@dataclass(frozen=True)
class ClickHouseTTL:
    expression: str


@dataclass(frozen=True)
class ClickHouseCodec:
    expression: str


@dataclass(frozen=True)
class RenamedFrom:
    """The column had another name before.

    With it the column is renamed; without, one is dropped and one added.
    """

    name: str


@dataclass(frozen=True)
class ClickHouseJson:
    """``JSON(…)``: limits, skipped paths."""

    max_dynamic_paths: int | None = None
    max_dynamic_types: int | None = None
    skip_paths: tuple[str, ...] = ()
    skip_regexps: tuple[str, ...] = ()


@dataclass(frozen=True)
class AggregateFunction:
    agg_func: str
    param_types: tuple[Any, ...] | list[Any] = ()


@dataclass(frozen=True)
class SimpleAggregateFunction:
    agg_func: str
    arg_type: Any


def clickhouse_decimal(precision: int, scale: int) -> Any:
    """``Decimal(P, S)``."""
    return Annotated[Decimal, DecimalSize(precision, scale)]


def clickhouse_datetime64(precision: int) -> Any:
    """``DateTime64(P)``."""
    return Annotated[datetime, ClickhousePrecision(precision)]


def clickhouse_default(expression: str) -> ClickHouseDefault:
    """``DEFAULT expression``."""
    return ClickHouseDefault(expression)


def simple_aggregated(agg_func: str, arg_type: Any) -> Any:
    """``SimpleAggregateFunction(f, T)``."""
    return Annotated[arg_type, SimpleAggregateFunction(agg_func, arg_type)]


def aggregated(result_type: Any, agg_func: str, param_types: list[Any] | None = None) -> Any:
    """``AggregateFunction(f, …)``."""
    return Annotated[result_type, AggregateFunction(agg_func, tuple(param_types or ()))]
