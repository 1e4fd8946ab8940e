import assert from "node:assert/strict";
import { join } from "node:path";
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
});

for (const [what, text, said] of [
  ["an unknown engine", 'new OlapTable<Row>("t", { engine: "MergeTre" as never });', "MergeTre"],
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
