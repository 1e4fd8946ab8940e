/**
 * Type-level tags. They add nothing at run time: the extractor reads them with the TypeScript
 * compiler's type checker.
 */
type Tag<Name extends string, Value> = { readonly [P in `~teal.${Name}`]?: Value };

/** A column of the key: the sorting key where none is given. */
export type Key<T> = T & Tag<"key", true>;
/** A value that comes from a signed token; for the table, the value itself. */
export type JWT<T extends object> = T;

export type Int8 = number & Tag<"type", "Int8">;
export type Int16 = number & Tag<"type", "Int16">;
export type Int32 = number & Tag<"type", "Int32">;
export type Int64 = number & Tag<"type", "Int64">;
export type UInt8 = number & Tag<"type", "UInt8">;
export type UInt16 = number & Tag<"type", "UInt16">;
export type UInt32 = number & Tag<"type", "UInt32">;
export type UInt64 = number & Tag<"type", "UInt64">;
export type Float32 = number & Tag<"type", "Float32">;
export type Float64 = number & Tag<"type", "Float64">;
export type ClickHouseInt<T extends string> = Tag<"type", T>;
export type ClickHouseFloat<T extends string> = Tag<"type", T>;

/** `Decimal(P, S)`. */
export type Decimal<P extends number, S extends number> = string & Tag<"decimal", [P, S]>;
export type ClickHouseDecimal<P extends number, S extends number> = Tag<"decimal", [P, S]>;

/** `DateTime`, seconds. */
export type DateTime = Date;
/** `DateTime64(P)`: P digits of a second. */
export type DateTime64<P extends number> = Date & Tag<"dateTime64", P>;
export type DateTime64String<P extends number> = string & Tag<"dateTime64", P>;
/** `DateTime64(9)`, with text as its values. */
export type DateTimeString = string & Tag<"format", "date-time">;
export type ClickHousePrecision<P extends number> = Tag<"dateTime64", P>;

/** `FixedString(N)`, as in `string & FixedString<16>`. */
export type FixedString<N extends number> = Tag<"fixedString", N>;
export type ClickHouseFixedStringSize<N extends number> = FixedString<N>;
/** `LowCardinality(…)`, as in `string & LowCardinality`. */
export type LowCardinality = Tag<"lowCardinality", true>;
/** Bytes of a value, where a format has several widths. */
export type ClickHouseByteSize<N extends number> = Tag<"size", N>;
/** A nested object as `Tuple(name type, …)` in place of `Nested(…)`. */
export type ClickHouseNamedTuple = Tag<"namedTuple", true>;

/** `DEFAULT expression`. */
export type ClickHouseDefault<E extends string> = Tag<"default", E>;
export type WithDefault<T, E extends string> = T & Tag<"default", E>;
/** `MATERIALIZED expression`. */
export type ClickHouseMaterialized<E extends string> = Tag<"materialized", E>;
/** `ALIAS expression`. */
export type ClickHouseAlias<E extends string> = Tag<"alias", E>;
/** `EPHEMERAL expression`. */
export type ClickHouseEphemeral<E extends string> = Tag<"ephemeral", E>;
/** `TTL expression`. */
export type ClickHouseTTL<E extends string> = Tag<"ttl", E>;
/** `CODEC(codec)`. */
export type ClickHouseCodec<E extends string> = Tag<"codec", E>;

/** `COMMENT text`, for a text that cannot stand in a comment of the code. */
export type ClickHouseComment<E extends string> = Tag<"comment", E>;

/** The column had another name before. With it the column is renamed; without, one is dropped and one added. */
export type RenamedFrom<Name extends string> = Tag<"renamedFrom", Name>;

/** Any type of ClickHouse's, as it writes it: `ClickHouseType<"DateTime64(3, 'UTC')">`. */
export type ClickHouseType<T extends string> = Tag<"raw", T>;

/** The geometric types. */
export type ClickHousePoint = [number, number] & Tag<"raw", "Point">;
export type ClickHouseRing = ClickHousePoint[] & Tag<"raw", "Ring">;
export type ClickHouseLineString = ClickHousePoint[] & Tag<"raw", "LineString">;
export type ClickHouseMultiLineString = ClickHouseLineString[] & Tag<"raw", "MultiLineString">;
export type ClickHousePolygon = ClickHouseRing[] & Tag<"raw", "Polygon">;
export type ClickHouseMultiPolygon = ClickHousePolygon[] & Tag<"raw", "MultiPolygon">;

/** `AggregateFunction(F, …)`, as in `number & Aggregated<"avg", [number]>`. */
export type Aggregated<F extends string, Arguments extends unknown[] = []> = Tag<"aggregate", [F, Arguments]>;
/** `SimpleAggregateFunction(F, T)`, as in `number & SimpleAggregated<"sum", number>`. */
export type SimpleAggregated<F extends string, T = unknown> = Tag<"simpleAggregate", [F, T]>;

/** `JSON(…)`, as in `Record<string, any> & ClickHouseJson<256>`. */
export type ClickHouseJson<
  MaxDynamicPaths extends number | undefined = undefined,
  MaxDynamicTypes extends number | undefined = undefined,
  SkipPaths extends string[] = [],
  SkipRegexps extends string[] = [],
> = Tag<"json", [MaxDynamicPaths, MaxDynamicTypes, SkipPaths, SkipRegexps]>;

/** The keys of the columns that have a tag. */
type Tagged<T, Name extends string> = { [K in keyof T]-?: `~teal.${Name}` extends keyof NonNullable<T[K]> ? K : never }[keyof T];
type Computed<T> = Tagged<T, "alias"> | Tagged<T, "materialized">;

/** A row as it is inserted: without what the server computes, and free to leave out what has a default. */
export type Insertable<T> = { [K in keyof T as K extends Computed<T> | Tagged<T, "default"> ? never : K]: T[K] } & {
  [K in keyof T as K extends Computed<T> ? never : K extends Tagged<T, "default"> ? K : never]?: T[K];
};

/**
 * The tags of typia, for where it is not installed: two carry a ClickHouse type, the others say which values are valid,
 * which concerns no column.
 */
export declare namespace tags {
  type Type<T extends string> = Tag<"type", T>;
  type Format<F extends string> = Tag<"format", F>;
  type TagBase<_Properties = unknown> = { readonly "typia.tag"?: unknown };
  type Minimum<_Value> = TagBase;
  type Maximum<_Value> = TagBase;
  type ExclusiveMinimum<_Value> = TagBase;
  type ExclusiveMaximum<_Value> = TagBase;
  type MultipleOf<_Value> = TagBase;
  type MinLength<_Value> = TagBase;
  type MaxLength<_Value> = TagBase;
  type Pattern<_Value> = TagBase;
  type MinItems<_Value> = TagBase;
  type MaxItems<_Value> = TagBase;
  type UniqueItems<_Value = true> = TagBase;
  type ContentMediaType<_Value> = TagBase;
  type Default<_Value> = TagBase;
  type Example<_Value> = TagBase;
  type Examples<_Value> = TagBase;
  type Sequence<_Value> = TagBase;
  type JsonSchemaPlugin<_Value> = TagBase;
}
