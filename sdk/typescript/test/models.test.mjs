import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { extract, extractProject, root } from "./extract.mjs";

const head = 'import { ClickHouseEngines, Key, MaterializedView, OlapTable, sql } from "teal-sdk";\ninterface Row { id: string; n: number }\n';

test("the example loads unchanged, and the missing export is a warning", async () => {
  const document = await extractProject(join(root, "examples/events-ts"));
  assert.equal(document.error, undefined);
  assert.deepEqual(document.tables.map((table) => [table.name, table.version, table.orderBy]), [
    ["events", "0.0", ["`id`"]],
    ["events", "0.1", ["`id`", "`createdAt`"]],
  ]);
  assert.equal(document.views[0].select, "SELECT * FROM `events_0_0`");
  assert.deepEqual(document.views[0].target, { name: "events", version: "0.1" });
  assert.equal(document.warnings.length, 1);
  assert.match(document.warnings[0].message, /EventV1 is imported from .* does not export it/);
});

test("engines and options reach the document", async () => {
  const { tables } = await extract(
    `${head}export const t = new OlapTable<Row>("t", {
      version: "1.2", orderByExpression: "(id, n)", partitionBy: "n % 4", database: "db", ttl: "toDate(n) + 1",
      primaryKeyExpression: "id", settings: { index_granularity: "1024" }, lifeCycle: "DELETION_PROTECTED",
      engine: ClickHouseEngines.ReplacingMergeTree, ver: "n",
      indexes: [{ name: "i", expression: "n", type: "set", arguments: [100] }],
      projections: [{ name: "p", body: "SELECT n ORDER BY n" }],
    });
    export const s = OlapTable.withSummingMergeTree<Row>("s", { columns: ["n"] });`,
  );
  const [t, s] = tables;
  assert.deepEqual(t.engine, { name: "ReplacingMergeTree", arguments: ["`n`"] });
  assert.deepEqual(t.orderBy, ["id, n"]);
  assert.deepEqual(t.indexes, [{ name: "i", expression: "n", type: "set(100)", granularity: 1 }]);
  assert.equal(t.database, "db");
  assert.equal(t.location.declaration, "t");
  assert.deepEqual(s.engine, { name: "SummingMergeTree", arguments: ["`n`"] });
  assert.equal(s.columns.length, 2);
});

test("sql puts physical names, quoted columns and nested pieces", async () => {
  const { views, error } = await extract(
    `${head}const a = new OlapTable<Row>("a", { version: "1.0", database: "db" });
    const b = new OlapTable<Row>("b");
    const where = sql\`\${a.columns.n} > 1\`;
    new MaterializedView<Row>({ materializedViewName: "v", selectTables: [a], targetTable: b,
      selectStatement: sql\`SELECT \${sql.join([a.columns.id, a.columns.n])} FROM \${a} WHERE \${where} AND \${sql.raw("1 = 1")}\` });`,
  );
  assert.equal(error, undefined, JSON.stringify(error));
  assert.equal(views[0].select, "SELECT `id`, `n` FROM `db`.`a_1_0` WHERE `n` > 1 AND 1 = 1");
  assert.deepEqual(views[0].selectTables, [{ name: "a", version: "1.0", database: "db" }]);
  assert.deepEqual(views[0].target, { name: "b" });
});

test("an enum's numbers are those of its declaration, whoever names a member before", async () => {
  const { tables, error } = await extract(
    `import { ClickHouseCodec, OlapTable } from "teal-sdk";
    enum E { B = "b", A = "a", C = "c" }
    interface Part { k: E.A & ClickHouseCodec<"ZSTD(1)">; some: E.C | E.A }
    interface Whole { ce: E & ClickHouseCodec<"ZSTD(1)">; e: E; maybe?: E }
    export const part = new OlapTable<Part>("part", { orderByExpression: "tuple()" });
    export const whole = new OlapTable<Whole>("whole", { orderByExpression: "tuple()" });`,
  );
  assert.equal(error, undefined, JSON.stringify(error));
  const types = tables.map((table) => table.columns.map((column) => column.type));
  const all = "Enum8('b' = 1, 'a' = 2, 'c' = 3)";
  assert.deepEqual(types, [["Enum8('a' = 1)", "Enum8('a' = 1, 'c' = 2)"], [all, all, `Nullable(${all})`]]);
});

test("columns taken from a type have its order, whatever names other models have", async () => {
  const names = `interface Names { zone: string; alpha: string; id: string; beta: string; made_b: string; town: string }
    type First = Omit<Names, "zone"> & Record<"north" | "east", string>;`;
  const taken = `
    interface More { town: string; alpha: string }
    interface Base extends More { zone: Key<string>; id: Key<string>; beta: string; gone: string }
    type Renamed = { [K in "b" | "a" as \`made_\${K}\`]: string };
    interface Row extends Omit<Base, "gone"> { own: number; parts: Pick<Base, "zone" | "beta" | "alpha">[] }
    export const omit = new OlapTable<Omit<Base, "gone">>("omit");
    export const row = new OlapTable<Row & Renamed & Partial<Record<"south" | "north" | "east", string>>>("row");`;
  const { tables, error } = await extract({
    "app/a.ts": `${head}${names}\nexport const first = new OlapTable<First>("first");`,
    "app/b.ts": `${head.replace("interface Row", "interface Other")}${taken}`,
  });
  assert.equal(error, undefined, JSON.stringify(error));
  const [first, omit, row] = tables;
  const columns = (table) => table.columns.map((column) => column.name).join(" ");
  assert.equal(columns(first), "alpha id beta made_b town east north");
  assert.equal(columns(omit), "zone id beta town alpha");
  assert.deepEqual(omit.orderBy, ["`zone`", "`id`"]);
  assert.equal(columns(row), "own parts zone id beta town alpha made_a made_b east north south");
  assert.equal(row.columns[1].type, "Array(Nested(zone String, beta String, alpha String))");
});

test("models lie in folders that are linked to, too", async () => {
  const project = mkdtempSync(join(tmpdir(), "teal-ts-link-"));
  try {
    mkdirSync(join(project, "app"));
    mkdirSync(join(project, "shared"));
    writeFileSync(join(project, "shared/t.ts"), `${head}export const t = new OlapTable<Row>("t");`);
    symlinkSync(join(project, "shared"), join(project, "app/linked"));
    symlinkSync(join(project, "app"), join(project, "shared/back"));
    symlinkSync(join(project, "shared/t.ts"), join(project, "app/t.ts"));
    const { tables, error } = await extractProject(project);
    assert.equal(error, undefined, JSON.stringify(error));
    assert.deepEqual(tables.map((table) => table.name), ["t"]);
  } finally {
    rmSync(project, { recursive: true });
  }
});

test("the enums are as objects are, but for what is no member", async () => {
  const { tables, error } = await extract(
    `${head}import { LifeCycle } from "teal-sdk";
    const known = JSON.stringify(Object.keys(LifeCycle)) + \`\${LifeCycle}\` + ("X" in LifeCycle) + JSON.stringify({ LifeCycle });
    export const t = new OlapTable<Row>("t", { comment: known, engine: undefined });`,
  );
  assert.equal(error, undefined, JSON.stringify(error));
  const members = ["FULLY_MANAGED", "DELETION_PROTECTED", "EXTERNALLY_MANAGED"];
  const LifeCycle = Object.fromEntries(members.map((member) => [member, member]));
  assert.equal(tables[0].comment, `${JSON.stringify(members)}[object Object]false${JSON.stringify({ LifeCycle })}`);
});

test("an engine as it stands in SQL may have partitions", async () => {
  const { tables, error } = await extract(
    `${head}export const t = new OlapTable<Row>("t", { engine: { name: "AzureBlobStorage", arguments: ["named"] }, partitionBy: "n" });`,
  );
  assert.equal(error, undefined, JSON.stringify(error));
  assert.deepEqual([tables[0].engine.name, tables[0].partitionBy], ["AzureBlobStorage", "n"]);
});

test("settings may be numbers and booleans", async () => {
  const { tables, error } = await extract(
    `${head}export const t = new OlapTable<Row>("t", { settings: { index_granularity: 4096, ratio: 0.5, on: true, off: false, text: "x" } });`,
  );
  assert.equal(error, undefined, JSON.stringify(error));
  assert.deepEqual(tables[0].settings, { index_granularity: "4096", ratio: "0.5", on: "1", off: "0", text: "x" });
});

test("views may be in another database, and a misspelt option of a plain one is warned of", async () => {
  const { views, warnings, error } = await extract(
    `${head}import { View } from "teal-sdk"; const t = new OlapTable<Row>("t");
    const v = new View("v", sql\`SELECT * FROM \${t}\`, [t], { database: "other" });
    new MaterializedView<Row>({ materializedViewName: "m", database: "other", selectTables: [t], targetTable: t, selectStatement: sql\`SELECT * FROM \${v}\` });
    new View("w", "SELECT 1", [], { databse: "other", description: "a note" } as never);`,
  );
  assert.equal(error, undefined, JSON.stringify(error));
  assert.deepEqual(views.map((view) => [view.name, view.database]), [["v", "other"], ["m", "other"], ["w", undefined]]);
  assert.equal(views[1].select, "SELECT * FROM `other`.`v`");
  assert.deepEqual(warnings.map((warning) => [warning.message, warning.location.line]), [["view w: unknown option databse", 6]]);
});

for (const [what, text, said] of [
  ["an unknown engine", 'new OlapTable<Row>("t", { engine: "MergeTre" as never });', "MergeTre"],
  ["an engine that the enum does not have", 'new OlapTable<Row>("t", { engine: (ClickHouseEngines as any).GraphiteMergeTree });', "ClickHouseEngines has no GraphiteMergeTree; it has MergeTree,"],
  [
    "a life cycle that the enum does not have",
    'import { LifeCycle } from "teal-sdk"; new OlapTable<Row>("t", { lifeCycle: LifeCycle.DELETION_PROTECED });',
    "LifeCycle has no DELETION_PROTECED; it has FULLY_MANAGED,",
  ],
  [
    "a flush of a Buffer without the one before",
    'new OlapTable<Row>("t", { engine: ClickHouseEngines.Buffer, targetDatabase: "d", targetTable: "u", numLayers: 1, minTime: 1, maxTime: 2, minRows: 3, maxRows: 4, minBytes: 5, maxBytes: 6, flushRows: 7 });',
    "flushRows needs flushTime before it",
  ],
  ["a version of too many digits", 'new OlapTable<Row>("t", { version: "1".repeat(20) });', "is no version"],
  ["an unknown option", 'new OlapTable<Row>("t", { orderBy: ["id"] } as never);', "orderBy"],
  ["a sorting key that is no column", 'new OlapTable<Row>("t", { orderByFields: ["nosuch"] as never });', "nosuch"],
  ["two sorting keys", 'new OlapTable<Row>("t", { orderByFields: ["id"], orderByExpression: "n" });', "exclude each other"],
  ["isDeleted without ver", 'new OlapTable<Row>("t", { engine: ClickHouseEngines.ReplacingMergeTree, isDeleted: "n" });', "ver"],
  ["a keeper path alone", 'new OlapTable<Row>("t", { engine: ClickHouseEngines.ReplicatedMergeTree, keeperPath: "/x" });', "both or neither"],
  ["a table twice", 'new OlapTable<Row>("t", { version: "1" }); new OlapTable<Row>("t", { version: "1" });', "OlapTable with name t and version 1 already exists"],
  ["a table without a row type", 'new OlapTable("t");', "no row type"],
  ["a row type that is not there", 'new OlapTable<Nowhere>("t");', "cannot find the type Nowhere"],
  [
    "a value in a view's sql",
    'const t = new OlapTable<Row>("t"); new MaterializedView<Row>({ materializedViewName: "v", selectTables: [t], targetTable: t, selectStatement: sql`SELECT ${5}` });',
    "cannot have parameters",
  ],
  ["a misspelt option of an index", 'new OlapTable<Row>("t", { indexes: [{ name: "i", expression: "n", type: "minmax", granularty: 4 }] as never });', "unknown option indexes[0].granularty"],
  ["a granularity as a text", 'new OlapTable<Row>("t", { indexes: [{ name: "i", expression: "n", type: "minmax", granularity: "4" as never }] });', "indexes[0].granularity is a whole number"],
  ["a constraint of no kind", 'new OlapTable<Row>("t", { constraints: [{ name: "c", kind: "chek" as never, expression: "n > 0" }] });', 'not "chek"'],
  ["a projection without a body", 'new OlapTable<Row>("t", { projections: [{ name: "p" } as never] });', "projections[0] has no body"],
  ["a version as a number", 'new OlapTable<Row>("t", { version: 1 as never });', 'write version: "1"'],
  ["a partition key as a number", 'new OlapTable<Row>("t", { partitionBy: 5 as never });', "partitionBy is a text"],
  ["columns to sum as a text", 'OlapTable.withSummingMergeTree<Row>("t", { columns: "n" as never });', 'columns is a list: write columns: ["n"]'],
  ["a setting as a list", 'new OlapTable<Row>("t", { settings: { a: [1] } as never });', "settings.a is a text, a number or a boolean"],
  ["a life cycle that is none", 'new OlapTable<Row>("t", { lifeCycle: "DELETION_PROTECT" as never });', 'no lifeCycle "DELETION_PROTECT"; there are FULLY_MANAGED'],
  ["a sorting key as a text", 'new OlapTable<Row>("t", { orderByFields: "id" as never });', 'orderByFields is a list: write orderByFields: ["id"]'],
  [
    "a parameter without its engine",
    'export const t = new OlapTable<Row>("t", { ver: "n", orderByFields: ["id"] });',
    "table t: MergeTree takes no ver: it is a parameter of ReplacingMergeTree, VersionedCollapsingMergeTree",
  ],
  [
    "a parameter of another engine",
    'export const t = OlapTable.withReplacingMergeTree<Row>("t", { ver: "n", columns: ["n"] });',
    "ReplacingMergeTree takes no columns",
  ],
  [
    "a parameter beside an engine as it stands in SQL",
    'export const t = new OlapTable<Row>("t", { engine: { name: "Memory" }, path: "x" });',
    "the engine Memory as it stands in SQL takes no path",
  ],
  [
    "a table of a class of its own",
    'class Own<T> extends OlapTable<T> { constructor(name: string) { super(name); } } new Own<Row>("t");',
    "table t: its columns are not known",
  ],
  [
    "a misspelt option of a view",
    'const t = new OlapTable<Row>("t"); new MaterializedView<Row>({ materializedViewName: "v", selectTables: [t], targetTable: t, selectStatement: "SELECT 1", lifecycle: "FULLY_MANAGED" } as never);',
    "view v: unknown option lifecycle",
  ],
  [
    "a misspelt option of a view's target",
    'const t = new OlapTable<Row>("t"); new MaterializedView<Row>({ materializedViewName: "v", selectTables: [t], targetTable: { name: "m", orderBy: ["id"] }, selectStatement: "SELECT 1" } as never);',
    "unknown option targetTable.orderBy",
  ],
  [
    "a view without a SELECT",
    'const t = new OlapTable<Row>("t"); new MaterializedView<Row>({ materializedViewName: "v", selectTables: [t], targetTable: t } as never);',
    "view v: it has no SELECT",
  ],
  [
    "a life cycle of a view that is none",
    'const t = new OlapTable<Row>("t"); new MaterializedView<Row>({ materializedViewName: "v", selectTables: [t], targetTable: t, selectStatement: "SELECT 1", lifeCycle: "x" as never });',
    'view v: there is no lifeCycle "x"',
  ],
  [
    "a view with its target's name",
    'const t = new OlapTable<Row>("t"); new MaterializedView<Row>({ materializedViewName: "t", selectTables: [t], targetTable: t, selectStatement: sql`SELECT 1` });',
    "name of its target",
  ],
]) {
  test(`${what} is an error with its place`, async () => {
    const { error } = await extract(`${head}${text}\n`);
    assert.ok(error?.message.includes(said), JSON.stringify(error));
    assert.deepEqual([error.location.file, error.location.line], ["app/models.ts", 3]);
  });
}

test("a syntax error has its line and column", async () => {
  const { error } = await extract("const a = 1;\nconst b = = 2;\n");
  assert.deepEqual(error.location, { file: "app/models.ts", line: 2, column: 11 });
});

test("an error in the user's code has the user's own stack", async () => {
  const { error } = await extract('function f() {\n  throw new Error("no luck");\n}\nf();\n');
  assert.equal(error.message, "Error: no luck");
  assert.deepEqual([error.location.file, error.location.line], ["app/models.ts", 2]);
  assert.match(error.trace, /app\/models\.ts:4/);
});

test("a model that prints still gives its document, and one that exits an error", async () => {
  const printing = await extract(`${head}console.log("hello"); export const t = new OlapTable<Row>("t");`);
  assert.equal(printing.tables.length, 1);
  const exiting = await extract("process.exit(3);");
  assert.match(exiting.error.message, /process\.exit\(3\)/);
});

test("paths of the tsconfig, .tsx files and imports that end in .js work", async () => {
  const { tables, error } = await extract({
    "tsconfig.json": '{ "compilerOptions": { "baseUrl": ".", "paths": { "@models/*": ["app/models/*"] } } }',
    "package.json": '{ "type": "module" }',
    "app/models/row.ts": "export interface Row { id: string }\nexport const version = '2.0';",
    "app/tables/a.tsx": 'import { OlapTable } from "teal-sdk"; import { Row, version } from "@models/row"; export const a = new OlapTable<Row>("a", { version });',
    "app/tables/b.ts": 'import { OlapTable } from "teal-sdk"; import { type Row, version } from "../models/row.js"; export const b = new OlapTable<Row>("b", { version });',
  });
  assert.equal(error, undefined, JSON.stringify(error));
  assert.deepEqual(tables.map((table) => [table.name, table.version, table.columns.length]), [["a", "2.0", 1], ["b", "2.0", 1]]);
});

test("ES modules, CommonJS, barrels, default exports and loops declare tables", async () => {
  const { tables, error } = await extract({
    "package.json": '{ "type": "commonjs" }',
    "app/row.ts": "export interface Row { id: string }",
    "app/index.ts": 'export * from "./row";',
    "app/version.cjs": 'exports.version = "1.0";',
    "app/a.ts": 'import { OlapTable } from "teal-sdk"; import { Row } from "."; const { version } = require("./version.cjs"); export default new OlapTable<Row>("a", { version, orderByFields: ["id"] });',
    "app/b.mts": 'import { OlapTable } from "teal-sdk"; for (const name of ["b", "c"]) new OlapTable<{ id: string }>(name + (import.meta.url ? "" : "?"), { orderByFields: ["id"] });',
  });
  assert.equal(error, undefined, JSON.stringify(error));
  assert.deepEqual(tables.map((table) => [table.name, table.version]), [["a", "1.0"], ["b", undefined], ["c", undefined]]);
});

test("types and values of a package in a hoisted node_modules are found", async () => {
  const project = mkdtempSync(join(tmpdir(), "teal-ts-monorepo-"));
  try {
    const files = {
      "node_modules/shared/package.json": '{ "name": "shared", "main": "index.js", "types": "index.d.ts" }',
      "node_modules/shared/index.js": 'exports.version = "3.0";',
      "node_modules/shared/index.d.ts": "export interface Row { id: string; n: number }\nexport const version: string;",
      "packages/models/app/t.ts": 'import { OlapTable } from "teal-sdk"; import { Row, version } from "shared"; export const t = new OlapTable<Row>("t", { version });',
    };
    for (const [file, text] of Object.entries(files)) {
      mkdirSync(dirname(join(project, file)), { recursive: true });
      writeFileSync(join(project, file), text);
    }
    const { tables, error } = await extractProject(join(project, "packages/models"));
    assert.equal(error, undefined, JSON.stringify(error));
    assert.deepEqual([tables[0].version, tables[0].columns.length], ["3.0", 2]);
  } finally {
    rmSync(project, { recursive: true });
  }
});

test("the real package of the compatibility name is not loaded where it is installed", async () => {
  const { tables, error } = await extract({
    "node_modules/@514labs/moose-lib/package.json": '{ "name": "@514labs/moose-lib", "main": "index.js" }',
    "node_modules/@514labs/moose-lib/index.js": 'throw new Error("the real one");',
    "app/t.ts": 'import { Key, OlapTable } from "@514labs/moose-lib"; export const t = new OlapTable<{ id: Key<string> }>("t");',
  });
  assert.equal(error, undefined, JSON.stringify(error));
  assert.equal(tables.length, 1);
});

test("a row type may be a class, an intersection or a mapped type", async () => {
  const { tables, error } = await extract(
    `import { Key, LowCardinality, OlapTable } from "teal-sdk";
    class Row { id!: string; n?: number; method(): void {} }
    export const a = new OlapTable<Row>("a");
    const enum Level { Low = 1, High = 2 }
    interface Base<T> { id: Key<T> }
    type Both = Base<string & LowCardinality> & { readonly level: Level; inner?: { x: number }[]; text: \`x\${string}\` };
    export const b = new OlapTable<Both>("b");
    type Nulls<T> = { [K in keyof T]: T[K] | null };
    interface Two { id: string; n?: number }
    export const c = new OlapTable<Nulls<Two>>("c");`,
  );
  assert.equal(error, undefined, JSON.stringify(error));
  const types = tables.map((table) => table.columns.map((column) => `${column.name} ${column.type}`).join(", "));
  assert.deepEqual(types.slice(0, 2), [
    "id String, n Nullable(Float64)",
    "id LowCardinality(String), level Enum8('Low' = 1, 'High' = 2), inner Array(Nested(x Float64)), text String",
  ]);
  assert.match(types[2], /^id Nullable\(String\), n Nullable\(Float64\)/);
});

for (const [what, text, said] of [
  ["top-level await", 'import { OlapTable } from "teal-sdk"; const v = await Promise.resolve("1"); export const t = new OlapTable<{ id: string }>("t", { version: v });', /awaits/],
  ["a type parameter", 'import { OlapTable } from "teal-sdk"; export const make = <T extends { id: string }>(n: string) => new OlapTable<T>(n);', /type parameter/],
  ["a type that is not known", 'import { OlapTable } from "teal-sdk"; export const t = new OlapTable<{ id: Strng }>("t");', /column id: its type is not known/],
  ["never", 'import { OlapTable } from "teal-sdk"; export const t = new OlapTable<{ id: never }>("t");', /never has no ClickHouse type/],
]) {
  test(`${what} is an error with what to write instead`, async () => {
    const { error } = await extract({ "package.json": '{ "type": "module" }', "app/models.ts": text });
    assert.match(error.message, said);
    assert.equal(error.location.file, "app/models.ts");
    assert.ok(error.hint);
  });
}

test("an error of a column has the place of the column", async () => {
  const { error } = await extract(
    'import { OlapTable } from "teal-sdk";\ninterface Row {\n  id: string;\n  odd: string | number;\n}\nexport const t = new OlapTable<Row>("t");',
  );
  assert.deepEqual(error.location, { file: "app/models.ts", line: 4, column: 3, declaration: "t" });
});

test("a target given by name is a table without a version, with a warning", async () => {
  const { tables, warnings } = await extract(
    `${head}const t = new OlapTable<Row>("t");
    new MaterializedView<Row>({ materializedViewName: "v", selectTables: [t], selectStatement: sql\`SELECT * FROM \${t}\`, targetTable: { name: "made", orderByFields: ["id"] } });`,
  );
  assert.deepEqual(tables.map((table) => table.name), ["t", "made"]);
  assert.equal(tables[1].columns.length, 2);
  assert.match(warnings[0].message, /without a version/);
});

test("what teal has no use for is ignored with one warning", async () => {
  const { tables, warnings, error } = await extract(
    `import { IngestApi, OlapTable, Stream, Workflow } from "@514labs/moose-lib";
    interface Row { id: string }
    const stream = new Stream<Row>("s", { destination: undefined });
    new IngestApi<Row>("api", { destination: stream });
    stream.addTransform(stream, (row) => row);
    export const w = new Workflow("w", {});
    export const t = new OlapTable<Row>("t");`,
  );
  assert.equal(error, undefined, JSON.stringify(error));
  assert.equal(tables.length, 1);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0].message, /IngestApi, Stream, Workflow/);
});
