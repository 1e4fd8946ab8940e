// Projects written for the compatibility name load unchanged.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { extract, extractProject } from "./extract.mjs";

const moose = "@514labs/moose-lib";

/** `name type` of each column of each table. */
const shown = (tables) => Object.fromEntries(tables.map((table) => [table.name, table.columns.map((column) => `${column.name} ${column.type}`).join(", ")]));

test("a pipeline declares its table, which views read", async () => {
  const { tables, views, warnings, error } = await extract({
    "app/ingest/models.ts": `import { ClickHouseEngines, DeadLetterModel, IngestPipeline, Key, LifeCycle, OlapTable } from "${moose}";
      export interface Foo { primaryKey: Key<string>; timestamp: number; text?: string }
      export interface Bar { primaryKey: Key<string>; at: Date; length: number }
      export const dead = new OlapTable<DeadLetterModel>("FooDead", { orderByFields: ["failedAt"] });
      export const FooPipeline = new IngestPipeline<Foo>("Foo", { table: false, stream: true, ingestApi: true, deadLetterQueue: { destination: dead } });
      export const BarPipeline = new IngestPipeline<Bar>("Bar", {
        table: { engine: ClickHouseEngines.ReplacingMergeTree, ver: "at", metadata: { a: 1 }, seedFilter: { limit: 1 } },
        stream: true, ingestApi: false, version: "1.0", lifeCycle: LifeCycle.DELETION_PROTECTED });
      FooPipeline.stream!.addTransform(BarPipeline.stream!, async (foo: Foo) => foo, { deadLetterQueue: FooPipeline.deadLetterQueue });`,
    "app/views/total.ts": `import { MaterializedView, sql } from "${moose}";
      import { BarPipeline } from "../ingest/models";
      const table = BarPipeline.table!;
      interface Total { day: number; rows: number }
      export const total = new MaterializedView<Total>({ tableName: "Total", materializedViewName: "Total_MV", orderByFields: ["day"],
        lifeCycle: "EXTERNALLY_MANAGED" as never, metadata: {},
        selectStatement: sql\`SELECT toDayOfMonth(\${BarPipeline.columns.at}) AS day, count(\${table.columns.primaryKey}) AS rows FROM \${table} GROUP BY day\`,
        selectTables: [table] });`,
  });
  assert.equal(error, undefined, JSON.stringify(error));
  assert.deepEqual(shown(tables), {
    FooDead: "originalRecord JSON, errorMessage String, errorType String, failedAt DateTime, source LowCardinality(String)",
    Bar: "primaryKey String, at DateTime, length Float64",
    Total: "day Float64, rows Float64",
  });
  const bar = tables[1];
  assert.deepEqual([bar.version, bar.orderBy, bar.engine, bar.lifeCycle, bar.location.declaration], [
    "1.0", ["`primaryKey`"], { name: "ReplacingMergeTree", arguments: ["`at`"] }, "DELETION_PROTECTED", "BarPipeline",
  ]);
  assert.equal(views[0].select, "SELECT toDayOfMonth(`at`) AS day, count(`primaryKey`) AS rows FROM `Bar_1_0` GROUP BY day");
  assert.equal(views[0].lifeCycle, "EXTERNALLY_MANAGED");
  assert.match(warnings.map((warning) => warning.message).join("\n"), /teal ignores .*the stream of IngestPipeline/);
});

test("a pipeline without a table may have rows that are no columns, one with a table may not", async () => {
  const open = `import { IngestPipeline } from "${moose}";\ninterface Open { id: string; [more: string]: any }\n`;
  const without = await extract(`${open}new IngestPipeline<Open>("a", { table: false, stream: true, ingestApi: true });`);
  assert.equal(without.error, undefined, JSON.stringify(without.error));
  assert.deepEqual(without.tables, []);
  const { error } = await extract(`${open}export const p = new IngestPipeline<Open>("a", { table: true, stream: true, ingestApi: true });`);
  assert.match(error.message, /index signature/);
  assert.deepEqual([error.location.line, error.location.declaration], [3, "p"]);
});

test("a table of the engine Merge is no table of a pipeline", async () => {
  const { error } = await extract(
    `import { IngestPipeline } from "${moose}"; new IngestPipeline<{ id: string }>("a", { table: { engine: "Merge" as never, sourceDatabase: "d", tablesRegexp: "x" }, stream: true });`,
  );
  assert.match(error.message, /cannot be written to/);
});

test("the entry of a project is loaded first, so that declarations can be looked up by name", async () => {
  const { tables, views, error } = await extract({
    "app/index.ts": 'export * from "./models";\nexport * from "./a-view";',
    "app/models.ts": `import { Key, OlapTable } from "${moose}"; export const t = new OlapTable<{ id: Key<string> }>("t", { version: "1.0" });`,
    "app/a-view.ts": `import { MaterializedView, getTable, getTables, sql } from "${moose}";
      const t = getTable("t_1.0")!;
      if (getTables().size !== 1) throw new Error("one table");
      export const v = new MaterializedView<{ id: string }>({ materializedViewName: "v", selectTables: [t], selectStatement: sql.statement\`SELECT * FROM \${t}\`, targetTable: { name: "into", orderByFields: ["id"] } });`,
  });
  assert.equal(error, undefined, JSON.stringify(error));
  assert.deepEqual(tables.map((table) => table.name), ["t", "into"]);
  assert.equal(views[0].select, "SELECT * FROM `t_1_0`");
});

test("functions of typia and what is left out of the package are stand-ins, by any of its paths", async () => {
  const { tables, warnings, error } = await extract({
    // typia throws where its compiler plugin has not run.
    "node_modules/typia/package.json": '{ "name": "typia", "main": "index.js", "types": "index.d.ts" }',
    "node_modules/typia/index.js": 'exports.default = { createValidate() { throw new Error("no transform has been configured"); } };',
    "node_modules/typia/index.d.ts": `export declare namespace tags { type Type<V extends string> = { "typia.tag"?: { kind: "type"; value: V } }; type Format<V extends string> = { "typia.tag"?: { kind: "format"; value: V } };
        type Default<V> = { "typia.tag"?: { kind: "default"; value: V } }; type MinLength<V> = { "typia.tag"?: { kind: "minLength"; value: V } } }
      declare const typia: { createValidate<T>(): (input: unknown) => unknown }; export default typia;`,
    "app/t.ts": `import typia, { tags } from "typia";
      import { Api, ClickHouseInt, Key, MooseCache, OlapTable, Stream, getMooseUtils } from "${moose}/browserCompatible";
      import { DateTimeString, LogLevel } from "${moose}";
      interface Row { id: Key<string>; n: number & tags.Type<"int32">; u: string & tags.Format<"uuid">; c: number & ClickHouseInt<"uint8">; d: DateTimeString;
        e: string & tags.Format<"email"> & tags.MinLength<3> & tags.Default<"none"> }
      export const validate = typia.createValidate<Row>();
      export const t = new OlapTable<Row>("t");
      class Mine extends Stream<Row> { more = 1 }
      export const [first] = new Mine("s").consumers;
      export const level = \`\${LogLevel.INFO}\`;
      export async function later() { await getMooseUtils(); return new Api("a", async () => MooseCache.get()); }
      void later();`,
  });
  assert.equal(error, undefined, JSON.stringify(error));
  assert.equal(shown(tables).t, "id String, n Int32, u UUID, c UInt8, d DateTime64(9), e String");
  assert.equal(tables[0].columns[5].default, undefined);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0].message, /^teal ignores LogLevel, Stream, getMooseUtils/);
});

test("geometric types, and types of packages that need more of the library", async () => {
  const { tables, error } = await extract({
    "node_modules/schemas/package.json": '{ "name": "schemas", "types": "index.d.ts" }',
    "node_modules/schemas/index.d.ts": `export interface Shape<T> { readonly fields: ReadonlyMap<string, unknown>; readonly _type: T }
      export type Infer<S> = S extends Shape<infer T> & { fields: Iterable<unknown> } ? T : never;`,
    "app/t.ts": `import { ClickHousePoint, ClickHousePolygon, Insertable, Key, OlapTable, UInt8, ClickHouseDefault, ClickHouseAlias } from "${moose}";
      import type { Infer, Shape } from "schemas";
      export const t = new OlapTable<{ id: Key<string>; at: ClickHousePoint; around?: ClickHousePolygon }>("t");
      export const s = new OlapTable<Infer<Shape<{ id: Key<string>; n: UInt8 }>>>("s");
      interface Whole { id: Key<string>; at: Date & ClickHouseDefault<"now()">; day: Date & ClickHouseAlias<"toDate(at)"> }
      export const i = new OlapTable<Insertable<Whole>>("i");`,
  });
  assert.equal(error, undefined, JSON.stringify(error));
  assert.deepEqual(shown(tables), {
    t: "id String, at Point, around Polygon",
    s: "id String, n UInt8",
    i: "id String, at DateTime",
  });
});

test("tables of other folders of the project are declared where they are imported", async () => {
  const { tables, error } = await extract({
    "shared/tables.ts": `import { Key, OlapTable } from "${moose}"; export const shared = new OlapTable<{ id: Key<string> }>("shared");`,
    "app/index.ts": 'export * from "../shared/tables";',
  });
  assert.equal(error, undefined, JSON.stringify(error));
  assert.deepEqual([tables[0].columns.length, tables[0].location.file, tables[0].location.declaration], [1, "shared/tables.ts", "shared"]);
});

test("a package of the workspace may be TypeScript, and declare tables too", async () => {
  const workspace = mkdtempSync(join(tmpdir(), "teal-ts-workspace-"));
  try {
    const files = {
      "tsconfig.base.json": '{ // what the packages share\n "compilerOptions": { "paths": { "~/*": ["./packages/models/app/*"] } } }',
      "packages/shared/package.json": '{ "name": "@acme/shared", "exports": { ".": { "types": "./src/index.ts", "default": "./src/index.ts" } } }',
      "packages/shared/src/index.ts": `import { Key, OlapTable } from "${moose}"; export interface Base { id: Key<string> } export const shared = new OlapTable<Base>("shared");`,
      "packages/models/tsconfig.json": '{ "extends": "../../tsconfig.base.json" }',
      "packages/models/app/t.ts": `import { OlapTable } from "${moose}"; import { type Base, shared } from "@acme/shared"; export const t = new OlapTable<Base & { n: number }>("t", { version: shared.name && "1.0" });`,
      "packages/models/app/v.ts": `import { t } from "~/t"; import { View, sql } from "${moose}"; new View("v", sql\`SELECT * FROM \${t}\`, [t]);`,
    };
    for (const [file, text] of Object.entries(files)) {
      mkdirSync(dirname(join(workspace, file)), { recursive: true });
      writeFileSync(join(workspace, file), text);
    }
    mkdirSync(join(workspace, "node_modules/@acme"), { recursive: true });
    symlinkSync(join(workspace, "packages/shared"), join(workspace, "node_modules/@acme/shared"));
    const { tables, views, error } = await extractProject(join(workspace, "packages/models"));
    assert.equal(error, undefined, JSON.stringify(error));
    assert.deepEqual(shown(tables), { shared: "id String", t: "id String, n Float64" });
    assert.equal(views[0].select, "SELECT * FROM `t_1_0`");
  } finally {
    rmSync(workspace, { recursive: true });
  }
});

test("what the key is, where no order is given", async () => {
  const { tables, error } = await extract(
    `import { Key, OlapTable } from "${moose}"; interface Row { id: Key<string>; n: number } interface Plain { id: string }
    new OlapTable<Row>("keys", { orderByFields: [] });
    new OlapTable<Row>("both", { orderByFields: ["id"], orderByExpression: "" });
    new OlapTable<Row>("primary", { primaryKeyExpression: "(n, id)" });
    new OlapTable<Plain>("none", { orderByFields: [] });`,
  );
  assert.equal(error, undefined, JSON.stringify(error));
  assert.deepEqual(Object.fromEntries(tables.map((table) => [table.name, table.orderBy])), {
    keys: ["`id`"], both: ["`id`"], primary: ["n, id"], none: ["tuple()"],
  });
});

test("engines have all their parameters", async () => {
  const { tables, error } = await extract(
    `import { ClickHouseEngines as E, Key, OlapTable, mooseRuntimeEnv } from "${moose}"; interface Row { id: Key<string> }
    process.env.TEAL_TEST_KEY = "k";
    new OlapTable<Row>("s3", { engine: E.S3, path: "p", format: "CSV", noSign: true, partitionStrategy: "hive", partitionColumnsInDataFile: "1", partitionBy: "id" });
    new OlapTable<Row>("queue", { engine: E.S3Queue, s3Path: "p", format: "CSV", awsAccessKeyId: mooseRuntimeEnv.get("TEAL_TEST_KEY"), awsSecretAccessKey: "s", headers: { a: "b" }, settings: { mode: "unordered" } });
    new OlapTable<Row>("iceberg", { engine: E.IcebergS3, path: "p", format: "Parquet", compression: "zstd" });
    new OlapTable<Row>("merge", { engine: E.Merge, sourceDatabase: "currentDatabase()", tablesRegexp: "^a" });
    new OlapTable<Row>("other", { engine: E.Merge, sourceDatabase: "db", tablesRegexp: "^a" });`,
  );
  assert.equal(error, undefined, JSON.stringify(error));
  assert.deepEqual(Object.fromEntries(tables.map((table) => [table.name, table.engine.arguments])), {
    s3: ["'p'", "NOSIGN", "'CSV'", "partition_strategy = 'hive'", "partition_columns_in_data_file = 1"],
    queue: ["'p'", "'k'", "'s'", "'CSV'", "headers('a' = 'b')"],
    iceberg: ["'p'", "'Parquet'", "'zstd'"],
    merge: ["currentDatabase()", "'^a'"],
    other: ["'db'", "'^a'"],
  });
});

test("a variable that the environment has not is named", async () => {
  const { error } = await extract(`import { mooseRuntimeEnv } from "${moose}";\nmooseRuntimeEnv.get("TEAL_TEST_NOT_SET");`);
  assert.match(error.message, /TEAL_TEST_NOT_SET/);
  assert.equal(error.location.line, 2);
});

test("pieces of sql are joined with room between them, and aggregates are merged with their parameters", async () => {
  const { views, error } = await extract(
    `import { Aggregated, Key, OlapTable, View, sql } from "${moose}"; interface Row { id: Key<string>; p: number & Aggregated<"quantile(0.9)", [number]>; a: number & Aggregated<"avg", [number]> }
    const t = new OlapTable<Row>("t", { engine: "AggregatingMergeTree" as never });
    const conditions = [sql.fragment\`1 = 1\`, sql.fragment\`2 = 2\`];
    new View("v", sql\`SELECT \${t.columns.p}, \${t.columns.a} FROM \${t} WHERE \${sql.join(conditions, "AND")}\`.append(sql\` LIMIT 1\`), [t], { description: "notes" } as never);`,
  );
  assert.equal(error, undefined, JSON.stringify(error));
  assert.equal(views[0].select, "SELECT quantileMerge(0.9)(`p`), avgMerge(`a`) FROM `t` WHERE 1 = 1 AND 2 = 2 LIMIT 1");
});
