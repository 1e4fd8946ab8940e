//! The same tables in TypeScript, Python and SQL: the same schema, byte for byte, and the same table
//! when ClickHouse has created it.
//! Clippy counts helpers as no tests, hence what is allowed here.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../../tests/engine.rs"]
mod engine;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use teal_catalog::{Catalog, Shadow};
use teal_client::{EmbeddedEngine, Server};
use teal_models::{LoadOptions, Loading};
use teal_schema::{Location, QualifiedName, Schema, Table};

use crate::engine::OwnEngine;

/// TypeScript; Python; ClickHouse.
const TYPES: &[(&str, &str, &str)] = &[
    ("string", "str", "String"),
    ("number", "float", "Float64"),
    ("boolean", "bool", "Bool"),
    ("Int8", "Int8", "Int8"),
    ("Int16", "Int16", "Int16"),
    ("Int32", "Int32", "Int32"),
    ("Int64", "int", "Int64"),
    ("UInt8", "UInt8", "UInt8"),
    ("UInt16", "Annotated[int, \"uint16\"]", "UInt16"),
    ("number & tags.Type<\"uint32\">", "UInt32", "UInt32"),
    ("UInt64", "UInt64", "UInt64"),
    ("Float32", "Annotated[float, ClickhouseSize(4)]", "Float32"),
    ("ClickHouseType<\"Int128\">", "Annotated[int, \"int128\"]", "Int128"),
    ("ClickHouseType<\"UInt256\">", "Annotated[int, \"uint256\"]", "UInt256"),
    ("Date", "datetime", "DateTime"),
    ("DateTime64<3>", "clickhouse_datetime64(3)", "DateTime64(3)"),
    ("DateTime64String<6>", "clickhouse_datetime64(6)", "DateTime64(6)"),
    ("string & tags.Format<\"date-time\">", "clickhouse_datetime64(9)", "DateTime64(9)"),
    ("string & tags.Format<\"date\">", "date", "Date32"),
    (
        "string & tags.Format<\"date\"> & ClickHouseByteSize<2>",
        "Annotated[date, ClickhouseSize(2)]",
        "Date",
    ),
    ("string & tags.Format<\"uuid\">", "UUID", "UUID"),
    ("string & tags.Format<\"ipv4\">", "IPv4Address", "IPv4"),
    ("string & tags.Format<\"ipv6\">", "IPv6Address", "IPv6"),
    ("Decimal<10, 2>", "clickhouse_decimal(10, 2)", "Decimal(10, 2)"),
    (
        "number & ClickHouseDecimal<18, 4>",
        "Annotated[Decimal, Field(max_digits=18, decimal_places=4)]",
        "Decimal(18, 4)",
    ),
    ("string & FixedString<16>", "Annotated[str, FixedString(16)]", "FixedString(16)"),
    ("string & LowCardinality", "Annotated[str, \"LowCardinality\"]", "LowCardinality(String)"),
    ("\"a\" | \"b\"", "Literal[\"a\", \"b\"]", "LowCardinality(String)"),
    ("string | null", "Optional[str]", "Nullable(String)"),
    ("UInt64 | undefined", "UInt64 | None", "Nullable(UInt64)"),
    (
        "(string & LowCardinality) | null",
        "Optional[Annotated[str, \"LowCardinality\"]]",
        "LowCardinality(Nullable(String))",
    ),
    ("string[]", "list[str]", "Array(String)"),
    ("string[] | undefined", "Optional[list[str]]", "Array(String)"),
    ("(string | null)[][]", "list[list[Optional[str]]]", "Array(Array(Nullable(String)))"),
    ("Record<UInt32, string>", "dict[UInt32, str]", "Map(UInt32, String)"),
    ("Record<string, Int64>", "dict[str, int]", "Map(String, Int64)"),
    ("Record<string, string[]>", "dict[str, list[str]]", "Map(String, Array(String))"),
    ("Record<string, any>", "dict[str, Any]", "JSON"),
    (
        "Record<string, any> & ClickHouseJson<8>",
        "Annotated[Any, ClickHouseJson(max_dynamic_paths=8)]",
        "JSON(max_dynamic_paths=8)",
    ),
    ("Color", "Color", "Enum8('red' = 1, 'blue' = 2)"),
    ("Level", "Level", "Enum16('LOW' = 1, 'HIGH' = 1000)"),
    ("Point", "PointRow", "Nested(x Float64, y Float64)"),
    (
        "Point & ClickHouseNamedTuple",
        "Annotated[PointRow, \"ClickHouseNamedTuple\"]",
        "Tuple(x Float64, y Float64)",
    ),
    ("ClickHousePoint", "Point", "Point"),
    ("ClickHouseRing", "Ring", "Ring"),
    ("ClickHouseLineString", "LineString", "LineString"),
    ("ClickHouseMultiLineString", "MultiLineString", "MultiLineString"),
    ("ClickHousePolygon | null", "Optional[Polygon]", "Polygon"),
    ("Record<string, any> | null", "Optional[dict[str, Any]]", "Nullable(JSON)"),
    (
        "Point & ClickHouseJson<8, 4, [\"a.b\"], [\"^c\"]>",
        "Annotated[PointRow, ClickHouseJson(8, 4, (\"a.b\",), (\"^c\",))]",
        "JSON(max_dynamic_types=4, max_dynamic_paths=8, x Float64, y Float64, SKIP a.b, SKIP REGEXP '^c')",
    ),
    ("DateTimeString", "clickhouse_datetime64(9)", "DateTime64(9)"),
    ("ClickHouseType<\"MultiPolygon\">", "Annotated[list, \"MultiPolygon\"]", "MultiPolygon"),
    (
        "number & Aggregated<\"avg\", [number]>",
        "aggregated(float, \"avg\", [float])",
        "AggregateFunction(avg, Float64)",
    ),
    (
        "UInt64 & SimpleAggregated<\"sum\", UInt64>",
        "simple_aggregated(\"sum\", UInt64)",
        "SimpleAggregateFunction(sum, UInt64)",
    ),
    // Modifiers.
    (
        "UInt64 & ClickHouseDefault<\"1 + 2\">",
        "Annotated[UInt64, clickhouse_default(\"1 + 2\")]",
        "UInt64 DEFAULT 1 + 2",
    ),
    (
        "WithDefault<string | null, \"'x'\">",
        "Annotated[Optional[str], ClickHouseDefault(\"'x'\")]",
        "String DEFAULT 'x'",
    ),
    (
        "string & ClickHouseMaterialized<\"upper(id)\">",
        "Annotated[str, ClickHouseMaterialized(\"upper(id)\")]",
        "String MATERIALIZED upper(id)",
    ),
    (
        "string & ClickHouseAlias<\"lower(id)\">",
        "Annotated[str, ClickHouseAlias(\"lower(id)\")]",
        "String ALIAS lower(id)",
    ),
    (
        "string & ClickHouseEphemeral<\"'e'\">",
        "Annotated[str, ClickHouseEphemeral(\"'e'\")]",
        "String EPHEMERAL 'e'",
    ),
    (
        "string & ClickHouseCodec<\"ZSTD(3)\"> & ClickHouseTTL<\"at + toIntervalDay(1)\">",
        "Annotated[str, ClickHouseCodec(\"ZSTD(3)\"), ClickHouseTTL(\"at + toIntervalDay(1)\")]",
        "String CODEC(ZSTD(3)) TTL at + toIntervalDay(1)",
    ),
    (
        "string & ClickHouseComment<\"It's a name\">",
        "Annotated[str, Field(description=\"It's a name\")]",
        "String COMMENT 'It\\'s a name'",
    ),
];

/// Options in TypeScript; in Python; what stands behind the columns in SQL; more definitions in SQL.
const OPTIONS: &[(&str, &str, &str, &str)] = &[
    ("orderByFields: [\"id\"]", "order_by_fields=[\"id\"]", "ENGINE = MergeTree ORDER BY id", ""),
    ("", "", "ENGINE = MergeTree ORDER BY id", ""),
    (
        "orderByExpression: \"(id, toDate(at))\", primaryKeyExpression: \"id\"",
        "order_by_expression=\"(id, toDate(at))\", primary_key_expression=\"id\"",
        "ENGINE = MergeTree PRIMARY KEY id ORDER BY (id, toDate(at))",
        "",
    ),
    (
        "orderByExpression: \"tuple()\"",
        "order_by_expression=\"tuple()\"",
        "ENGINE = MergeTree ORDER BY tuple()",
        "",
    ),
    (
        "orderByFields: [\"id\", \"n\"], partitionBy: \"toYYYYMM(at)\", sampleByExpression: \"n\"",
        "order_by_fields=[\"id\", \"n\"], partition_by=\"toYYYYMM(at)\", sample_by_expression=\"n\"",
        "ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY (id, n) SAMPLE BY n",
        "",
    ),
    (
        "ttl: \"at + toIntervalDay(1)\", settings: { merge_with_ttl_timeout: \"10\" }",
        "ttl=\"at + toIntervalDay(1)\", settings={\"merge_with_ttl_timeout\": \"10\"}",
        "ENGINE = MergeTree ORDER BY id TTL at + toIntervalDay(1) SETTINGS merge_with_ttl_timeout = 10",
        "",
    ),
    (
        "indexes: [{ name: \"i\", expression: \"n\", type: \"set\", arguments: [100], granularity: 2 }]",
        "indexes=[TableIndex(name=\"i\", expression=\"n\", type=\"set\", arguments=[\"100\"], granularity=2)]",
        "ENGINE = MergeTree ORDER BY id",
        ", INDEX i n TYPE set(100) GRANULARITY 2",
    ),
    (
        "projections: [{ name: \"p\", body: \"SELECT n ORDER BY n\" }]",
        "projections=[TableProjection(name=\"p\", body=\"SELECT n ORDER BY n\")]",
        "ENGINE = MergeTree ORDER BY id",
        ", PROJECTION p (SELECT n ORDER BY n)",
    ),
    (
        "constraints: [{ name: \"c\", expression: \"n > 1\" }], comment: \"All of it\"",
        "constraints=[TableConstraint(name=\"c\", expression=\"n > 1\")], comment=\"All of it\"",
        "ENGINE = MergeTree ORDER BY id COMMENT 'All of it'",
        ", CONSTRAINT c CHECK n > 1",
    ),
    (
        "engine: ClickHouseEngines.ReplacingMergeTree",
        "engine=ClickHouseEngines.ReplacingMergeTree",
        "ENGINE = ReplacingMergeTree ORDER BY id",
        "",
    ),
    (
        "engine: ClickHouseEngines.ReplacingMergeTree, ver: \"at\", isDeleted: \"d\"",
        "engine=ReplacingMergeTreeEngine(ver=\"at\", is_deleted=\"d\")",
        "ENGINE = ReplacingMergeTree(at, d) ORDER BY id",
        "",
    ),
    (
        "engine: ClickHouseEngines.SummingMergeTree, columns: [\"n\"]",
        "engine=SummingMergeTreeEngine(columns=[\"n\"])",
        "ENGINE = SummingMergeTree(n) ORDER BY id",
        "",
    ),
    (
        "engine: ClickHouseEngines.SummingMergeTree, columns: [\"n\", \"d\"]",
        "engine=SummingMergeTreeEngine(columns=[\"n\", \"d\"])",
        "ENGINE = SummingMergeTree((n, d)) ORDER BY id",
        "",
    ),
    (
        "engine: \"AggregatingMergeTree\"",
        "engine=AggregatingMergeTreeEngine()",
        "ENGINE = AggregatingMergeTree ORDER BY id",
        "",
    ),
    (
        "engine: ClickHouseEngines.CollapsingMergeTree, sign: \"s\"",
        "engine=CollapsingMergeTreeEngine(sign=\"s\")",
        "ENGINE = CollapsingMergeTree(s) ORDER BY id",
        "",
    ),
    (
        "engine: ClickHouseEngines.VersionedCollapsingMergeTree, sign: \"s\", ver: \"n\"",
        "engine=VersionedCollapsingMergeTreeEngine(sign=\"s\", ver=\"n\")",
        "ENGINE = VersionedCollapsingMergeTree(s, n) ORDER BY id",
        "",
    ),
    (
        "engine: ClickHouseEngines.Merge, sourceDatabase: \"default\", tablesRegexp: \"^x\"",
        "engine=MergeEngine(source_database=\"default\", tables_regexp=\"^x\")",
        "ENGINE = Merge('default', '^x')",
        "",
    ),
    (
        "engine: ClickHouseEngines.Merge, sourceDatabase: \"REGEXP('^d')\", tablesRegexp: \"^x\"",
        "engine=MergeEngine(source_database=\"REGEXP('^d')\", tables_regexp=\"^x\")",
        "ENGINE = Merge(REGEXP('^d'), '^x')",
        "",
    ),
    (
        "primaryKeyExpression: \"(id, toDate(at))\"",
        "primary_key_expression=\"(id, toDate(at))\"",
        "ENGINE = MergeTree PRIMARY KEY (id, toDate(at))",
        "",
    ),
    (
        "engine: ClickHouseEngines.Buffer, targetDatabase: \"default\", targetTable: \"x\", numLayers: 1, \
         minTime: 10, maxTime: 100, minRows: 10000, maxRows: 1000000, minBytes: 10000000, maxBytes: 100000000",
        "engine=BufferEngine(target_database=\"default\", target_table=\"x\", num_layers=1)",
        "ENGINE = Buffer('default', 'x', 1, 10, 100, 10000, 1000000, 10000000, 100000000)",
        "",
    ),
    ("engine: { name: \"Memory\" }", "engine=SqlEngine(\"Memory\")", "ENGINE = Memory", ""),
];

/// Engines that need a server beside ClickHouse's: TypeScript; Python; the engine's clause.
const ENGINES: &[(&str, &str, &str)] = &[
    (
        "engine: \"ReplicatedMergeTree\", keeperPath: \"/p\", replicaName: \"r\"",
        "engine=ReplicatedMergeTreeEngine(keeper_path=\"/p\", replica_name=\"r\")",
        "ReplicatedMergeTree('/p', 'r')",
    ),
    (
        "engine: \"ReplicatedReplacingMergeTree\", keeperPath: \"/p\", replicaName: \"r\", ver: \"n\"",
        "engine=ReplicatedReplacingMergeTreeEngine(keeper_path=\"/p\", replica_name=\"r\", ver=\"n\")",
        "ReplicatedReplacingMergeTree('/p', 'r', `n`)",
    ),
    (
        "engine: \"ReplicatedSummingMergeTree\", columns: [\"n\"]",
        "engine=ReplicatedSummingMergeTreeEngine(columns=[\"n\"])",
        "ReplicatedSummingMergeTree(`n`)",
    ),
    (
        "engine: \"ReplicatedAggregatingMergeTree\"",
        "engine=ReplicatedAggregatingMergeTreeEngine()",
        "ReplicatedAggregatingMergeTree",
    ),
    (
        "engine: \"ReplicatedCollapsingMergeTree\", sign: \"s\"",
        "engine=ReplicatedCollapsingMergeTreeEngine(sign=\"s\")",
        "ReplicatedCollapsingMergeTree(`s`)",
    ),
    (
        "engine: \"ReplicatedVersionedCollapsingMergeTree\", sign: \"s\", ver: \"n\"",
        "engine=ReplicatedVersionedCollapsingMergeTreeEngine(sign=\"s\", ver=\"n\")",
        "ReplicatedVersionedCollapsingMergeTree(`s`, `n`)",
    ),
    (
        "engine: \"Distributed\", cluster: \"c\", targetDatabase: \"d\", targetTable: \"t\", shardingKey: \"rand()\"",
        "engine=DistributedEngine(cluster=\"c\", target_database=\"d\", target_table=\"t\", sharding_key=\"rand()\")",
        "Distributed('c', 'd', 't', rand())",
    ),
    (
        "engine: \"S3\", path: \"https://b/x\", format: \"CSV\", noSign: true",
        "engine=S3Engine(path=\"https://b/x\", format=\"CSV\", no_sign=True)",
        "S3('https://b/x', NOSIGN, 'CSV')",
    ),
    (
        "engine: { name: \"S3\", arguments: [\"'p'\", \"'CSV'\"] }, partitionBy: \"n\"",
        "engine=SqlEngine(\"S3\", [\"'p'\", \"'CSV'\"]), partition_by=\"n\"",
        "S3('p', 'CSV')",
    ),
    (
        "engine: \"S3\", path: \"https://b/x\", format: \"CSV\", noSign: true, compression: \"gzip\", partitionStrategy: \"hive\", partitionColumnsInDataFile: \"0\"",
        "engine=S3Engine(path=\"https://b/x\", format=\"CSV\", no_sign=True, compression=\"gzip\", partition_strategy=\"hive\", partition_columns_in_data_file=\"0\")",
        "S3('https://b/x', NOSIGN, 'CSV', 'gzip', partition_strategy = 'hive', partition_columns_in_data_file = 0)",
    ),
    (
        "engine: \"S3Queue\", s3Path: \"https://b/x\", format: \"CSV\", noSign: true, headers: { a: \"it's\" }",
        "engine=S3QueueEngine(s3_path=\"https://b/x\", format=\"CSV\", no_sign=True, headers={\"a\": \"it's\"})",
        "S3Queue('https://b/x', NOSIGN, 'CSV', headers('a' = 'it\\'s'))",
    ),
    (
        "engine: \"S3Queue\", s3Path: \"https://b/x\", format: \"CSV\", awsAccessKeyId: \"k\", awsSecretAccessKey: \"s\"",
        "engine=S3QueueEngine(s3_path=\"https://b/x\", format=\"CSV\", aws_access_key_id=\"k\", aws_secret_access_key=\"s\")",
        "S3Queue('https://b/x', 'k', 's', 'CSV')",
    ),
    (
        "engine: \"IcebergS3\", path: \"https://b/x\", format: \"Parquet\"",
        "engine=IcebergS3Engine(path=\"https://b/x\", format=\"Parquet\")",
        "IcebergS3('https://b/x', 'Parquet')",
    ),
    (
        "engine: \"Kafka\", brokerList: \"h:9092\", topicList: \"t\", groupName: \"g\", format: \"JSONEachRow\"",
        "engine=KafkaEngine(broker_list=\"h:9092\", topic_list=\"t\", group_name=\"g\", format=\"JSONEachRow\")",
        "Kafka('h:9092', 't', 'g', 'JSONEachRow')",
    ),
];

fn typescript() -> String {
    let mut text = "import * as teal from \"teal-sdk\";\nimport { ClickHouseEngines, OlapTable } from \"teal-sdk\";\nimport type { Aggregated, ClickHouseAlias, \
        ClickHouseByteSize, ClickHouseCodec, ClickHouseLineString, ClickHouseMultiLineString, ClickHousePoint, ClickHousePolygon, ClickHouseRing, DateTimeString, ClickHouseComment, ClickHouseDecimal, ClickHouseDefault, \
        ClickHouseEphemeral, ClickHouseJson, ClickHouseMaterialized, ClickHouseNamedTuple, ClickHouseTTL, \
        ClickHouseType, DateTime64, DateTime64String, Decimal, FixedString, Float32, Int8, Int16, Int32, \
        Int64, Key, LowCardinality, SimpleAggregated, UInt8, UInt16, UInt32, UInt64, WithDefault, tags } from \"teal-sdk\";\n\
        void teal;\n\
        enum Color { RED = \"red\", BLUE = \"blue\" }\nenum Level { LOW = 1, HIGH = 1000 }\n\
        interface Point { x: number; y: number }\n\
        interface Row { id: Key<string>; at: Date; n: UInt64; d: UInt8; s: Int8 }\n"
        .to_owned();
    for (i, (of, ..)) in TYPES.iter().enumerate() {
        let _ = writeln!(
            text,
            "interface Type{i} {{ id: Key<string>; at: Date; value: {of} }}\n\
             export const type{i} = new OlapTable<Type{i}>(\"type{i}\");"
        );
    }
    let engines = ENGINES.iter().map(|(of, ..)| of);
    for (i, of) in OPTIONS.iter().map(|(of, ..)| of).chain(engines).enumerate() {
        let _ = writeln!(
            text,
            "export const option{i} = new OlapTable<Row>(\"option{i}\", {{ {of} }});"
        );
    }
    text + "export const versioned = new OlapTable<Row>(\"versioned\", { version: \"1.2\", database: \"other\", lifeCycle: \"DELETION_PROTECTED\" });\n"
}

fn python() -> String {
    let mut text = "from datetime import date, datetime\nfrom decimal import Decimal\nfrom enum import Enum, IntEnum\n\
        from ipaddress import IPv4Address, IPv6Address\nfrom typing import Annotated, Any, Literal, Optional\n\
        from uuid import UUID\nfrom pydantic import BaseModel, Field\nfrom teal import *\n\
        class Color(Enum):\n    RED = \"red\"\n    BLUE = \"blue\"\n\
        class Level(IntEnum):\n    LOW = 1\n    HIGH = 1000\n\
        class PointRow(BaseModel):\n    x: float\n    y: float\n\
        class Row(BaseModel):\n    id: Key[str]\n    at: datetime\n    n: UInt64\n    d: UInt8\n    s: Int8\n"
        .to_owned();
    for (i, (_, of, _)) in TYPES.iter().enumerate() {
        let _ = writeln!(
            text,
            "class Type{i}(BaseModel):\n    id: Key[str]\n    at: datetime\n    value: {of}\n\
             type{i} = OlapTable[Type{i}](\"type{i}\")"
        );
    }
    let engines = ENGINES.iter().map(|(_, of, _)| of);
    for (i, of) in OPTIONS.iter().map(|(_, of, ..)| of).chain(engines).enumerate() {
        let _ =
            writeln!(text, "option{i} = OlapTable[Row](\"option{i}\", config=OlapConfig({of}))");
    }
    text + "versioned = OlapTable[Row](\"versioned\", config=OlapConfig(version=\"1.2\", database=\"other\", life_cycle=LifeCycle.DELETION_PROTECTED))\n"
}

fn sql() -> String {
    let mut text = String::new();
    for (i, (.., of)) in TYPES.iter().enumerate() {
        let _ = writeln!(
            text,
            "CREATE TABLE type{i} (id String, at DateTime, value {of}) ENGINE = MergeTree ORDER BY id;"
        );
    }
    const ROW: &str = "id String, at DateTime, n UInt64, d UInt8, s Int8";
    for (i, (.., of, more)) in OPTIONS.iter().enumerate() {
        let _ = writeln!(text, "CREATE TABLE option{i} ({ROW}{more}) {of};");
    }
    let _ = writeln!(
        text,
        "-- teal: table versioned version 1.2 lifecycle deletion_protected\n\
         CREATE TABLE other.versioned ({ROW}) ENGINE = MergeTree ORDER BY id;"
    );
    text
}

fn load(file: &str, text: &str, engine: &EmbeddedEngine) -> Schema {
    let project = tempfile::tempdir().unwrap();
    std::fs::create_dir(project.path().join("app")).unwrap();
    std::fs::write(project.path().join("app").join(file), text).unwrap();
    let loading = Loading::start(project.path(), &LoadOptions::default()).unwrap();
    loading.finish(engine).unwrap_or_else(|error| panic!("{file}: {error}")).schema
}

/// The table as JSON, wherever it was declared.
fn bytes(table: &Table) -> String {
    let location = Location { file: String::new(), line: 0, column: None, declaration: None };
    serde_json::to_string_pretty(&Table { location, ..table.clone() }).unwrap()
}

#[test]
fn three_languages_declare_the_same() {
    let engine = OwnEngine::open();
    let in_sql = load("models.sql", &sql(), &engine);
    let in_typescript = load("models.ts", &typescript(), &engine);
    let in_python = load("models.py", &python(), &engine);
    let table = |schema: &Schema, name: &str| {
        bytes(schema.tables.iter().find(|table| table.name == name).unwrap())
    };
    assert_eq!(in_sql.tables.len() + ENGINES.len(), in_python.tables.len());
    assert_eq!(in_typescript.tables.len(), in_python.tables.len());
    for declared in &in_python.tables {
        let name = &declared.name;
        assert_eq!(table(&in_typescript, name), bytes(declared), "TypeScript and Python: {name}");
        if in_sql.tables.iter().any(|table| table.name == *name) {
            assert_eq!(table(&in_sql, name), bytes(declared), "SQL and Python: {name}");
        }
    }
    for (i, (.., expected)) in ENGINES.iter().enumerate() {
        let name = format!("option{}", OPTIONS.len() + i);
        let declared = in_python.tables.iter().find(|table| table.name == name).unwrap();
        assert_eq!(declared.engine.to_string(), *expected);
        // The embedded engine has no keeper that replicas could meet in.
        if expected.starts_with("Replicated") {
            let sql = format!(
                "CREATE TABLE {name} (id String, at DateTime, n UInt64, d UInt8, s Int8)\n\
                 ENGINE = {expected} ORDER BY id;"
            );
            assert_eq!(table(&load("models.sql", &sql, &engine), &name), bytes(declared));
        }
    }
    assert_created_the_same(&engine, &in_sql, &in_typescript);
}

/// What ClickHouse makes of the declarations is what it makes of the statements themselves.
fn assert_created_the_same(engine: &EmbeddedEngine, in_sql: &Schema, in_typescript: &Schema) {
    let mut session = engine.session(&[]).unwrap();
    session.command("CREATE DATABASE written").unwrap();
    session.command("CREATE DATABASE other").unwrap();
    for statement in teal_schema::statements(&sql()).unwrap() {
        let create = teal_schema::read_create(statement.sql).unwrap().unwrap();
        let sql = statement.sql.replacen(
            &statement.sql[create.name_range],
            &format!("written.{}", create.name),
            1,
        );
        session.command(&sql).unwrap();
    }
    let written = Catalog::read(session.as_mut(), &["written"]).unwrap();
    let is_in_sql = |table: &&Table| in_sql.tables.iter().any(|other| other.name == table.name);
    let tables = in_typescript.tables.iter().filter(is_in_sql).cloned().collect::<Vec<_>>();
    let schema = Schema { tables, views: Vec::new() };
    let mut shadow =
        Shadow::create(engine, engine, &Catalog::default(), &schema, "default", &BTreeSet::new())
            .unwrap();
    let created = shadow.catalog().unwrap();
    for table in &schema.tables {
        let name = table.qualified("default");
        let declared = &created.table(&shadow.name(&name)).unwrap().create_table_query;
        let by_hand = written.table(&QualifiedName::new("written", &table.name)).unwrap();
        let expected = by_hand.create_table_query.replace("written.", "");
        let declared = shadow.unshadowed(declared);
        let declared = declared.replace(&format!("{name} "), &format!("{} ", table.name));
        assert_eq!(declared, expected, "{}", table.name);
    }
}
