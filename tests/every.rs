//! Every type, modifier and engine that the embedded engine can create, for tests that carry tables
//! from one form to another.

/// What it takes to create all of them, and to keep a nested column in one piece.
#[allow(dead_code)]
pub(crate) const SETTINGS: &[(&str, &str)] = &[
    ("flatten_nested", "0"),
    ("allow_suspicious_low_cardinality_types", "1"),
    ("allow_suspicious_variant_types", "1"),
    ("enable_time_time64_type", "1"),
];

/// Types, one column each.
const TYPES: &[&str] = &[
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Int128",
    "Int256",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "UInt128",
    "UInt256",
    "Float32",
    "Float64",
    "BFloat16",
    "Bool",
    "String",
    "FixedString(16)",
    "Decimal(10, 2)",
    "Decimal(38, 4)",
    "Date",
    "Date32",
    "DateTime",
    "DateTime('Europe/Berlin')",
    "DateTime64(3)",
    "DateTime64(6, 'UTC')",
    "Time",
    "Time64(3)",
    "UUID",
    "IPv4",
    "IPv6",
    "Enum8('a' = 1, 'it\\'s, a \"b\"' = 2)",
    "Enum16('x' = 1000)",
    "LowCardinality(String)",
    "LowCardinality(Nullable(String))",
    "LowCardinality(FixedString(3))",
    "Nullable(Int32)",
    "Nullable(DateTime64(3, 'UTC'))",
    "Array(String)",
    "Array(Array(Nullable(String)))",
    "Map(String, Array(UInt8))",
    "Tuple(a UInt8, b Tuple(String, Int8))",
    "Tuple(UInt8, String)",
    "Nested(a UInt8, b String)",
    "Variant(String, UInt64)",
    "Dynamic",
    "Dynamic(max_types=8)",
    "JSON",
    "JSON(max_dynamic_paths=8, a UInt8, SKIP b.c, SKIP REGEXP 'x.*')",
    "Point",
    "Ring",
    "Polygon",
    "MultiPolygon",
    "LineString",
    "MultiLineString",
    "AggregateFunction(avg, Float64)",
    "AggregateFunction(quantiles(0.5, 0.9), UInt64)",
    "SimpleAggregateFunction(sum, UInt64)",
    "SimpleAggregateFunction(anyLast, Nullable(String))",
];

/// What comes behind `CREATE TABLE name`.
const TABLES: &[&str] = &[
    "(a UInt8) ENGINE = MergeTree ORDER BY tuple()",
    "(a UInt8, b Date) ENGINE = MergeTree PARTITION BY (toYYYYMM(b), a) PRIMARY KEY (a, intHash32(a)) ORDER BY (a, intHash32(a), b) SAMPLE BY intHash32(a)",
    "(a UInt8, b UInt8, c UInt8) ENGINE = MergeTree PRIMARY KEY (a, b) ORDER BY (a, b, c)",
    "(a UInt8, b DateTime, c String) ENGINE = MergeTree ORDER BY (a, -a, toDate(b)) TTL b + INTERVAL 1 MONTH DELETE WHERE a > 1, b + INTERVAL 1 YEAR SETTINGS index_granularity = 1024, merge_with_ttl_timeout = 10",
    "(a UInt8 DEFAULT 1 + 2, b UInt8 MATERIALIZED a, c UInt8 ALIAS a + b, d UInt8 EPHEMERAL 7, e String DEFAULT 'TTL, (x' COMMENT 'it''s a \"comment\", with TTL' CODEC(ZSTD(3)) TTL t + toIntervalDay(1), f Int64 CODEC(Delta(8), LZ4), t DateTime) ENGINE = MergeTree ORDER BY a",
    "(a UInt8, b String, INDEX i a TYPE minmax GRANULARITY 4, INDEX `j k` lower(b) TYPE tokenbf_v1(256, 2, 0), INDEX s (a, b) TYPE set(100) GRANULARITY 2) ENGINE = MergeTree ORDER BY a COMMENT 'all, of; it'",
    "(a UInt8, b String, PROJECTION p (SELECT b, count() GROUP BY b), PROJECTION q (SELECT * ORDER BY b)) ENGINE = MergeTree ORDER BY a",
    "(a UInt8, b String, CONSTRAINT c CHECK a > 0 AND b != 'x, y', CONSTRAINT d ASSUME length(b) > 1) ENGINE = MergeTree ORDER BY a",
    "(`order` UInt8, `a b` UInt8, `tick``ed` UInt8) ENGINE = MergeTree ORDER BY (`order`, `a b`, `tick``ed`)",
    "(date Date COMMENT 'a', at Date, UUID UUID COMMENT 'b', id UUID, str String COMMENT 'c', s String, int Int64 COMMENT 'd', \
     Any JSON COMMENT 'e', Field String COMMENT 'f', datetime DateTime COMMENT 'g', dt DateTime) ENGINE = MergeTree ORDER BY at",
    // The server writes these without quotes (26.7).
    "(settings UInt8, ttl DateTime, type UInt8, comment UInt8 DEFAULT ttl > type COMMENT 'a', codec UInt8 DEFAULT comment CODEC(ZSTD(3)) TTL ttl, \
     INDEX i type TYPE set(100) GRANULARITY 4, INDEX granularity (type, settings) TYPE minmax GRANULARITY 2) \
     ENGINE = MergeTree PARTITION BY settings ORDER BY (settings, ttl, type, comment) TTL ttl DELETE WHERE settings = 1",
    "(a UInt8, v UInt64, d UInt8) ENGINE = ReplacingMergeTree(v, d) ORDER BY a",
    "(a UInt8, v UInt64) ENGINE = ReplacingMergeTree(v) ORDER BY a",
    "(a UInt8, v UInt64) ENGINE = ReplacingMergeTree ORDER BY a",
    "(a UInt8, v UInt64, w UInt64) ENGINE = SummingMergeTree((v, w)) ORDER BY a",
    "(a UInt8, v UInt64) ENGINE = SummingMergeTree(v) ORDER BY a",
    "(a UInt8, v UInt64) ENGINE = SummingMergeTree ORDER BY a",
    "(a UInt8, v AggregateFunction(sum, UInt64)) ENGINE = AggregatingMergeTree ORDER BY a",
    "(a UInt8, s Int8) ENGINE = CollapsingMergeTree(s) ORDER BY a",
    "(a UInt8, s Int8, v UInt64) ENGINE = VersionedCollapsingMergeTree(s, v) ORDER BY a",
    "(a UInt8, v Nullable(UInt64)) ENGINE = CoalescingMergeTree ORDER BY a",
    "(a UInt8) ENGINE = Memory",
    "(a UInt8) ENGINE = Log",
    "(a UInt8) ENGINE = Null",
    "(a UInt8) ENGINE = Buffer('default', 'nosuch', 1, 10, 100, 10000, 1000000, 10000000, 100000000)",
    "(a UInt8) ENGINE = Merge('default', '^x, (y)')",
];

/// What comes behind `CREATE TABLE name`, for each of them.
pub(crate) fn tables() -> Vec<String> {
    let of_types =
        TYPES.iter().map(|name| format!("(id UInt8, value {name}) ENGINE = MergeTree ORDER BY id"));
    of_types.chain(TABLES.iter().map(|table| (*table).to_owned())).collect()
}
