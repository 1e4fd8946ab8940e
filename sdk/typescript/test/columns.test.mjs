import assert from "node:assert/strict";
import { test } from "node:test";
import { extract } from "./extract.mjs";

const head = `
import { Aggregated, ClickHouseAlias, ClickHouseByteSize, ClickHouseCodec, ClickHouseDecimal, ClickHouseDefault, ClickHouseJson,
  ClickHouseMaterialized, ClickHouseNamedTuple, ClickHouseTTL, DateTime, DateTime64, DateTime64String, Decimal, FixedString, Float32,
  Int8, Key, LowCardinality, OlapTable, RenamedFrom, SimpleAggregated, UInt64, WithDefault, tags } from "teal-sdk";
enum Color { Red = "red", Blue = "blue" }
enum Level { Low = 1, High = 1000 }
interface Point { x: number; y: number }
interface Base { a: string; b: Date; c: boolean }
interface Box<T> { inside: T }
type Short = Pick<Base, "a">;
`;

const types = [
  ["string", "String"],
  ["number", "Float64"],
  ["boolean", "Bool"],
  ["bigint", "Int64"],
  ["Date", "DateTime"],
  ["DateTime", "DateTime"],
  ["DateTime64<3>", "DateTime64(3)"],
  ["DateTime64String<6>", "DateTime64(6)"],
  ["UInt64", "UInt64"],
  ["Int8", "Int8"],
  ["Float32", "Float32"],
  ['number & tags.Type<"int32">', "Int32"],
  ['string & tags.Format<"uuid">', "UUID"],
  ['string & tags.Format<"ipv4">', "IPv4"],
  ['string & tags.Format<"ipv6">', "IPv6"],
  ['string & tags.Format<"date-time">', "DateTime64(9)"],
  ['string & tags.Format<"date">', "Date32"],
  ['string & tags.Format<"date"> & ClickHouseByteSize<2>', "Date"],
  ["Decimal<10, 2>", "Decimal(10, 2)"],
  ["string & ClickHouseDecimal<18, 4>", "Decimal(18, 4)"],
  ["string & FixedString<16>", "FixedString(16)"],
  ["string & LowCardinality", "LowCardinality(String)"],
  ['"a" | "b"', "LowCardinality(String)"],
  ['("a" | "b") & LowCardinality', "LowCardinality(String)"],
  ["Date & LowCardinality", "LowCardinality(DateTime)"],
  ["bigint & LowCardinality", "LowCardinality(Int64)"],
  ['string & tags.Format<"date"> & ClickHouseByteSize<2> & LowCardinality', "LowCardinality(Date)"],
  ['(string & tags.Format<"uuid"> & LowCardinality) | null', "LowCardinality(Nullable(UUID))"],
  ["DateTime64<3> & LowCardinality", "LowCardinality(DateTime64(3))"],
  ['string & LowCardinality & SimpleAggregated<"anyLast", string>', "SimpleAggregateFunction(anyLast, LowCardinality(String))"],
  ['string & LowCardinality & Aggregated<"max", [string]>', "AggregateFunction(max, String)"],
  ['string & tags.Format<"email"> & tags.MinLength<3> & tags.MaxLength<200> & tags.Pattern<"@">', "String"],
  ['number & tags.Type<"uint32"> & tags.Minimum<0> & tags.Maximum<9>', "UInt32"],
  ["number & tags.ExclusiveMinimum<0> & tags.MultipleOf<2> & tags.Default<4>", "Float64"],
  ["string[] & tags.MinItems<1> & tags.UniqueItems", "Array(String)"],
  ["Color", "Enum8('red' = 1, 'blue' = 2)"],
  ["Level", "Enum16('Low' = 1, 'High' = 1000)"],
  ["string[]", "Array(String)"],
  ["(string | null)[]", "Array(Nullable(String))"],
  ["UInt64[][]", "Array(Array(UInt64))"],
  ["Record<string, number>", "Map(String, Float64)"],
  ["(Point & Short) & ClickHouseNamedTuple", "Tuple(x Float64, y Float64, a String)"],
  ["Key<Point & Short>", "Nested(x Float64, y Float64, a String)"],
  ["Point & Short & ClickHouseJson<8>", "JSON(max_dynamic_paths=8, a String, x Float64, y Float64)"],
  ["{ name: string; [k: string]: any } & ClickHouseJson<8>", "JSON(max_dynamic_paths=8, name String)"],
  ['string & { __brand: "Id" }', "String"],
  ['(UInt64 & { readonly __brand: "Id" }) | null', "Nullable(UInt64)"],
  ['("a" | "b") & { __brand: "Id" }', "LowCardinality(String)"],
  ["Record<UInt64, string>", "Map(UInt64, String)"],
  ["Record<string & FixedString<2>, number>", "Map(FixedString(2), Float64)"],
  ["Record<number, string & LowCardinality>", "Map(Float64, LowCardinality(String))"],
  ["Record<DateTime64String<3>, UInt64[]>", "Map(DateTime64(3), Array(UInt64))"],
  ["Record<string, any>", "JSON"],
  ["Record<UInt64, any>", "Map(UInt64, JSON)"],
  ["any", "JSON"],
  ["Record<string, any> & ClickHouseJson<8>", "JSON(max_dynamic_paths=8)"],
  ["Point", "Nested(x Float64, y Float64)"],
  ["Point & ClickHouseNamedTuple", "Tuple(x Float64, y Float64)"],
  ["Short", "Nested(a String)"],
  ['Omit<Base, "a" | "b">', "Nested(c Bool)"],
  ["Box<UInt64>", "Nested(inside UInt64)"],
  ["Partial<Point> & ClickHouseNamedTuple", "Tuple(x Nullable(Float64), y Nullable(Float64))"],
  ['number & Aggregated<"avg", [number]>', "AggregateFunction(avg, Float64)"],
  ['UInt64 & SimpleAggregated<"sum", UInt64>', "SimpleAggregateFunction(sum, UInt64)"],
  ["string | null", "Nullable(String)"],
  ["(string & LowCardinality) | undefined", "LowCardinality(Nullable(String))"],
  ["Key<string>", "String"],
];

for (const [type, expected] of types) {
  test(`${type} becomes ${expected}`, async () => {
    const document = await extract(
      `${head}interface Row { id: string; value: ${type} }\nexport const t = new OlapTable<Row>("t", { orderByFields: ["id"] });`,
    );
    assert.equal(document.error, undefined, JSON.stringify(document.error));
    assert.equal(document.tables[0].columns[1].type, expected);
    assert.deepEqual(document.warnings, []);
  });
}

test("an optional property is nullable, save for containers and those with a default", async () => {
  const { tables } = await extract(
    `${head}interface Row { id: Key<string>; a?: number; b?: string[]; c?: WithDefault<number, "1">; d?: string & ClickHouseDefault<"'x'"> }
    export const t = new OlapTable<Row>("t");`,
  );
  const [id, ...rest] = tables[0].columns;
  assert.deepEqual(id, { name: "id", type: "String", key: true });
  assert.deepEqual(rest.map((column) => column.type), ["Nullable(Float64)", "Array(String)", "Float64", "String"]);
  assert.deepEqual(rest[2].default, { kind: "default", expression: "1" });
  // The key columns are the sorting key where none is given.
  assert.deepEqual(tables[0].orderBy, ["`id`"]);
});

test("modifiers and comments become clauses", async () => {
  const { tables } = await extract(
    `${head}interface Row {
      /** The id. */
      id: string;
      twice: number & ClickHouseMaterialized<"2 * 2">;
      other: string & ClickHouseAlias<"id">;
      packed: string & ClickHouseCodec<"ZSTD(3)"> & ClickHouseTTL<"now() + 1">;
      city: string & RenamedFrom<"town">;
    }
    export const t = new OlapTable<Row>("t");`,
  );
  const [id, twice, other, packed, city] = tables[0].columns;
  assert.equal(id.comment, "The id.");
  assert.deepEqual(twice.default, { kind: "materialized", expression: "2 * 2" });
  assert.deepEqual(other.default, { kind: "alias", expression: "id" });
  assert.deepEqual([packed.codec, packed.ttl], ["ZSTD(3)", "now() + 1"]);
  assert.equal(city.renamedFrom, "town");
});

for (const [type, said] of [
  ["string | number", "has no ClickHouse type"],
  ["() => void", "has no ClickHouse type"],
  ["[string, number]", "has no ClickHouse type"],
  ["unknown", "unknown"],
  ["Tree", "contains itself"],
  ['number & tags.Type<"int3">', "int3"],
  ['string & ClickHouseDefault<"1"> & ClickHouseAlias<"2">', "exclude each other"],
]) {
  test(`${type} is refused with its column and what to write instead`, async () => {
    const { error } = await extract(
      `${head}interface Tree { left?: Tree }\ninterface Row { id: string; odd: ${type} }\nexport const t = new OlapTable<Row>("t");`,
    );
    assert.match(error.message, /column odd/);
    assert.ok(error.message.includes(said), error.message);
    assert.equal(error.location.file, "app/models.ts");
    assert.equal(error.location.declaration, "t");
    assert.ok(error.hint);
  });
}

test("a row type with an index signature is refused", async () => {
  const { error } = await extract(`${head}export const t = new OlapTable<{ [name: string]: string }>("t");`);
  assert.match(error.message, /index signature/);
});

test("a modifier within another type is warned of", async () => {
  const { warnings } = await extract(
    `${head}interface Part { made: Date & ClickHouseDefault<"now()"> }
    interface Row { id: Key<string>; parts: Part[] }
    export const t = new OlapTable<Row>("t");`,
  );
  assert.equal(warnings.length, 1);
  assert.match(warnings[0].message, /column parts\.made: default has no effect/);
});

test("a format that typia does not know is a text, with one warning", async () => {
  const { tables, warnings, error } = await extract(
    `${head}interface Row { id: Key<string & tags.Format<"uiid">>; other: string & tags.Format<"uiid"> }\nexport const t = new OlapTable<Row>("t");`,
  );
  assert.equal(error, undefined, JSON.stringify(error));
  assert.deepEqual(tables[0].columns.map((column) => column.type), ["String", "String"]);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0].message, /format uiid is not known/);
  assert.match(warnings[0].hint, /uuid/);
});
