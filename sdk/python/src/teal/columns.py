"""Turns the fields of a pydantic model into columns."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal, TypeVar, Union
from uuid import UUID

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from . import types as t
from .quote import quote_ident, quote_string
from .registry import ModelError, warn

_PLAIN: dict[Any, str] = {
    str: "String",
    bytes: "String",
    bool: "Bool",
    int: "Int64",
    float: "Float64",
    Decimal: "Decimal(10, 0)",
    datetime: "DateTime",
    date: "Date32",
    UUID: "UUID",
    IPv4Address: "IPv4",
    IPv6Address: "IPv6",
    Any: "JSON",
    object: "JSON",
}

_WIDTHS = (8, 16, 32, 64, 128, 256)
_NUMBERS = {
    name.lower(): name
    for name in (
        *(f"Int{bits}" for bits in _WIDTHS),
        *(f"UInt{bits}" for bits in _WIDTHS),
        "Float32",
        "Float64",
        "BFloat16",
    )
}
_GEO = {"Point", "Ring", "LineString", "MultiLineString", "Polygon", "MultiPolygon"}
#: Types that Nullable cannot go around.
_CONTAINERS = ("Array(", "Nested(", "Map(", "Tuple(", "AggregateFunction(", "SimpleAgg", *_GEO)
#: What only a column can have.
_MODIFIERS = (
    t.ClickHouseDefault,
    t.ClickHouseMaterialized,
    t.ClickHouseAlias,
    t.ClickHouseEphemeral,
    t.ClickHouseTTL,
    t.ClickHouseCodec,
    t.RenamedFrom,
)


def columns(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The columns of a model, as the document has them."""
    return [_Reader(model).column(name, info) for name, info in model.model_fields.items()]


class _Reader:
    """Reads one field; knows where it is, for errors."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.path = [model.__name__]
        self.open: list[type] = [model]

    def column(self, name: str, info: FieldInfo) -> dict[str, Any]:
        self.path.append(name)
        annotation, marks, nullable = self._read(info.annotation, info.metadata)
        modifiers = [
            (kind, mark.expression)
            for kind, of in (
                ("default", t.ClickHouseDefault),
                ("materialized", t.ClickHouseMaterialized),
                ("alias", t.ClickHouseAlias),
                ("ephemeral", t.ClickHouseEphemeral),
            )
            for mark in marks
            if isinstance(mark, of)
        ]
        if len(modifiers) > 1:
            kinds = " and ".join(kind for kind, _ in modifiers)
            self._fail(f"{kinds} exclude each other", "keep one of them")
        data_type = self._type(annotation, marks)
        # A column with a default is not nullable: a row that leaves it out gets the default.
        if nullable and not modifiers:
            data_type = _nullable(data_type)
        column: dict[str, Any] = {"name": info.alias or name, "type": data_type}
        if any(isinstance(mark, t.KeyMarker) for mark in marks):
            column["key"] = True
        for kind, expression in modifiers:
            column["default"] = {"kind": kind, "expression": expression}
        for mark in marks:
            if isinstance(mark, t.ClickHouseCodec):
                column["codec"] = mark.expression
            if isinstance(mark, t.ClickHouseTTL):
                column["ttl"] = mark.expression
            if isinstance(mark, t.RenamedFrom):
                column["renamedFrom"] = mark.name
        if info.description:
            column["comment"] = info.description
        return column

    def _inner(self, annotation: Any) -> str:
        bare, marks, nullable = self._read(annotation)
        self._warn_of_modifiers(marks)
        data_type = self._type(bare, marks)
        return _nullable(data_type) if nullable else data_type

    def _read(self, annotation: Any, metadata: Sequence[Any] = ()) -> tuple[Any, list[Any], bool]:
        """A type without what only decorates it; the marks in the order in which they are put on.

        ``Annotated[Decimal, clickhouse_decimal(18, 2)]`` has a type where a mark is expected. Its
        own marks are meant.
        """
        annotation, inner, nullable = _bare(annotation)
        marks: list[Any] = []
        for mark in [*inner, *metadata]:
            # pydantic takes a Field apart where it stands at the field itself, and nowhere else.
            if isinstance(mark, FieldInfo):
                marks += mark.metadata
                continue
            of, more, _ = _bare(mark)
            if isinstance(mark, (type, types.FunctionType)) and mark.__module__ == t.__name__:
                self._fail(
                    f"{mark.__name__} in Annotated says nothing without its arguments",
                    f"write {mark.__name__}(…)",
                )
            if more and not isinstance(of, TypeVar) and of != annotation:
                self._fail(
                    f"the type {_said(mark)} stands in the Annotated of {_said(annotation)}",
                    "write the type itself, or Annotated with the same type in front",
                )
            marks += more or [mark]
        return annotation, marks, nullable

    def _warn_of_modifiers(self, marks: list[Any]) -> None:
        """Within another type there is only a type: ClickHouse has modifiers for columns alone."""
        for mark in marks:
            if isinstance(mark, _MODIFIERS):
                warn(
                    f"column {'.'.join(self.path)}: {type(mark).__name__} has no effect within"
                    " another type",
                    "write it at the column, or leave it out",
                )

    def _type(self, annotation: Any, marks: list[Any]) -> str:
        """Whether the type may be in LowCardinality says the server."""
        data_type = self._marked(annotation, marks)
        # Of an aggregate, what it holds or gives is meant.
        if data_type.startswith(("AggregateFunction(", "SimpleAggregateFunction(")):
            return data_type
        return _low_cardinality(data_type) if "LowCardinality" in marks else data_type

    def _marked(self, annotation: Any, marks: list[Any]) -> str:
        # What is put on last is around the rest: an aggregate function of a Decimal.
        for mark in reversed(marks):
            if isinstance(mark, t.ClickHouseType):
                return mark.text
            if isinstance(mark, t.AggregateFunction):
                parts = [mark.agg_func, *(self._inner(of) for of in mark.param_types)]
                return f"AggregateFunction({', '.join(parts)})"
            if isinstance(mark, t.SimpleAggregateFunction):
                held = self._inner(mark.arg_type)
                if "LowCardinality" in marks:
                    held = _low_cardinality(held)
                return f"SimpleAggregateFunction({mark.agg_func}, {held})"
            if isinstance(mark, t.DecimalSize):
                return f"Decimal({mark.precision}, {mark.scale})"
            if isinstance(mark, t.ClickhousePrecision):
                return f"DateTime64({mark.precision})"
            if isinstance(mark, t.ClickHouseJson):
                return self._json(mark, annotation)
            if isinstance(mark, t.ClickhouseSize):
                sized = {
                    (float, 4): "Float32",
                    (float, 8): "Float64",
                    (date, 2): "Date",
                    (date, 4): "Date32",
                }.get((annotation, mark.size))
                return sized or self._fail(
                    f"no type of {mark.size} bytes for {_said(annotation)}",
                    "4 or 8 on float, 2 or 4 on date",
                )
        return self._unmarked(annotation, marks)

    def _unmarked(self, annotation: Any, marks: list[Any]) -> str:
        for mark in reversed(marks):
            if isinstance(mark, t.FixedString):
                return f"FixedString({mark.size})"
            if isinstance(mark, str) and mark.lower() in _NUMBERS:
                return _NUMBERS[mark.lower()]
            if isinstance(mark, str) and mark in _GEO:
                return mark
        if annotation is Decimal:
            limits = {
                name: getattr(mark, name)
                for mark in marks
                for name in ("max_digits", "decimal_places")
                if getattr(mark, name, None) is not None
            }
            return f"Decimal({limits.get('max_digits', 10)}, {limits.get('decimal_places', 0)})"
        if annotation in _PLAIN:
            return _PLAIN[annotation]
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is Literal:
            if not all(isinstance(value, str) for value in arguments):
                self._fail("a Literal of other values than texts", "use an Enum, or int")
            return "LowCardinality(String)"
        if origin in (list, typing.List) and arguments:  # noqa: UP006
            return f"Array({self._inner(arguments[0])})"
        if origin is dict:
            key, value = arguments
            if value is Any and self._inner(key) == "String":
                return "JSON"
            return f"Map({self._inner(key)}, {self._inner(value)})"
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            return self._enum(annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            kind = "Tuple" if "ClickHouseNamedTuple" in marks else "Nested"
            fields = self._fields(annotation).items()
            return f"{kind}({', '.join(f'{_quoted(name)} {of}' for name, of in fields)})"
        if origin in (Union, types.UnionType):
            self._fail(
                f"{_said(annotation)} is a union of several types",
                "use one type, with None beside it at most",
            )
        return self._fail(
            f"the type {_said(annotation)} has no ClickHouse type",
            "see the table of types in docs/models-python.md",
        )

    def _fields(self, model: type[BaseModel]) -> dict[str, str]:
        """The types of a model's fields by their names."""
        if model in self.open:
            self._fail(
                f"the model {model.__name__} contains itself",
                "ClickHouse's types are finite: use Any (JSON) for the part that recurs",
            )
        self.open.append(model)
        found = {}
        for name, info in model.model_fields.items():
            self.path.append(name)
            bare, marks, nullable = self._read(info.annotation, info.metadata)
            self._warn_of_modifiers(marks)
            data_type = self._type(bare, marks)
            found[info.alias or name] = _nullable(data_type) if nullable else data_type
            self.path.pop()
        self.open.pop()
        return found

    def _enum(self, enum: type[Enum]) -> str:
        if len({isinstance(item.value, int) for item in enum}) > 1:
            self._fail(
                f"the values of {enum.__name__} are of several types",
                "use only numbers, or only texts",
            )
        values = [
            (item.name, item.value) if isinstance(item.value, int) else (str(item.value), i)
            for i, item in enumerate(enum, start=1)
        ]
        width = 8 if all(-128 <= value <= 127 for _, value in values) else 16
        items = ", ".join(f"{quote_string(name)} = {value}" for name, value in values)
        return f"Enum{width}({items})"

    def _json(self, mark: t.ClickHouseJson, annotation: Any) -> str:
        # In the order that ClickHouse has them in.
        parts = []
        if mark.max_dynamic_types is not None:
            parts.append(f"max_dynamic_types={mark.max_dynamic_types}")
        if mark.max_dynamic_paths is not None:
            parts.append(f"max_dynamic_paths={mark.max_dynamic_paths}")
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            fields = self._fields(annotation)
            parts += [f"{_quoted(name)} {fields[name]}" for name in sorted(fields)]
        parts += [f"SKIP {path if '`' in path else _quoted(path)}" for path in mark.skip_paths]
        parts += [f"SKIP REGEXP {quote_string(regexp)}" for regexp in mark.skip_regexps]
        return f"JSON({', '.join(parts)})" if parts else "JSON"

    def _fail(self, message: str, hint: str) -> typing.NoReturn:
        raise ModelError(f"column {'.'.join(self.path)}: {message}", hint)


def _bare(annotation: Any) -> tuple[Any, list[Any], bool]:
    """Takes ``Annotated``, ``Optional`` and aliases made by ``type`` off a type."""
    marks: list[Any] = []
    nullable = False
    while True:
        annotation = _aliased(annotation)
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is Annotated:
            annotation, marks = arguments[0], list(arguments[1:]) + marks
        elif origin in (Union, types.UnionType) and type(None) in arguments:
            nullable = True
            rest = [of for of in arguments if of is not type(None)]
            annotation = rest[0] if len(rest) == 1 else Union[tuple(rest)]  # noqa: UP007
            if len(rest) > 1:
                return annotation, marks, nullable
        else:
            return annotation, marks, nullable


def _aliased(annotation: Any) -> Any:
    """What an alias of Python 3.12's ``type`` statement stands for: ``type Id[T] = Key[T]``."""
    while True:
        alias = typing.get_origin(annotation) or annotation
        # typing_extensions has a class of this name too, for older releases.
        if type(alias).__name__ != "TypeAliasType":
            return annotation
        value = alias.__value__
        given = dict(zip(alias.__type_params__, typing.get_args(annotation), strict=False))
        if isinstance(value, TypeVar):
            annotation = given.get(value, value)
            continue
        parameters = getattr(value, "__parameters__", ())
        chosen = tuple(given.get(parameter, parameter) for parameter in parameters)
        annotation = value[chosen] if chosen else value


def _quoted(name: str) -> str:
    return name if name.isidentifier() and name.isascii() else quote_ident(name)


def _low_cardinality(data_type: str) -> str:
    if data_type.startswith("LowCardinality("):
        return data_type
    return f"LowCardinality({data_type})"


def _nullable(data_type: str) -> str:
    """Nullable, around what can be: not a container, and inside of LowCardinality."""
    if data_type.startswith(_CONTAINERS):
        return data_type
    if data_type.startswith("LowCardinality("):
        return f"LowCardinality(Nullable({data_type.removeprefix('LowCardinality(')[:-1]}))"
    return f"Nullable({data_type})"


def _said(annotation: Any) -> str:
    if typing.get_origin(annotation) is not None:
        return str(annotation).replace("typing.", "")
    return getattr(annotation, "__name__", None) or str(annotation)
