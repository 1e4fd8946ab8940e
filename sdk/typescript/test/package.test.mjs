// The package as its users have it: types and values, for ES modules and for CommonJS.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { promisify } from "node:util";
import ts from "typescript";
import { root } from "./extract.mjs";

const run = promisify(execFile);
const project = mkdtempSync(join(tmpdir(), "teal-ts-package-"));
mkdirSync(join(project, "node_modules"));
symlinkSync(join(root, "sdk/typescript"), join(project, "node_modules/teal-sdk"));
after(() => rmSync(project, { recursive: true }));

const models = `
import { ClickHouseAlias, ClickHouseDefault, ClickHouseEngines, Insertable, Key, LowCardinality, MaterializedView, OlapTable, sql, tags, UInt64, View } from "teal-sdk";
interface Row {
  id: Key<string>; name: string & LowCardinality; n?: UInt64; at: Date & ClickHouseDefault<"now()">; day: Date & ClickHouseAlias<"toDate(at)">;
  u: string & tags.Format<"uuid">;
}
export const t = new OlapTable<Row>("t", { orderByFields: ["id", "name"], engine: ClickHouseEngines.ReplacingMergeTree, ver: "at" });
export const v = new MaterializedView<Row>({ materializedViewName: "v", selectTables: [t], selectStatement: sql\`SELECT \${t.columns.id} FROM \${t}\`, targetTable: t });
export const w = new View("w", sql\`SELECT 1\`, [t]);
export const row: Insertable<Row> = { id: "a", name: "b", u: "c" };
// @ts-expect-error there is no such column
export const column = t.columns.nosuch;
// @ts-expect-error nor can it be in the key
export const u = new OlapTable<Row>("u", { orderByFields: ["nosuch"] });
// @ts-expect-error nor is there such an engine
export const x = new OlapTable<Row>("x", { engine: "MergeTre" });
// @ts-expect-error it has to be there
export const lacking: Insertable<Row> = { id: "a", name: "b" };
`;

for (const [kind, file, module, moduleResolution] of [
  ["an ES module", "a.mts", ts.ModuleKind.NodeNext, ts.ModuleResolutionKind.NodeNext],
  ["CommonJS", "a.cts", ts.ModuleKind.NodeNext, ts.ModuleResolutionKind.NodeNext],
  ["a bundler", "b.ts", ts.ModuleKind.ESNext, ts.ModuleResolutionKind.Bundler],
  ["an older CommonJS", "c.ts", ts.ModuleKind.CommonJS, ts.ModuleResolutionKind.Node10],
]) {
  test(`the package has types for ${kind}`, () => {
    const path = join(project, file);
    writeFileSync(path, models);
    const program = ts.createProgram([path], { module, moduleResolution, target: ts.ScriptTarget.ES2022, strict: true, noEmit: true, types: [] });
    const said = ts.getPreEmitDiagnostics(program).map((problem) => ts.flattenDiagnosticMessageText(problem.messageText, "\n"));
    assert.deepEqual(said, []);
  });
}

for (const [kind, file, text] of [
  ["an ES module", "run.mjs", 'import { OlapTable } from "teal-sdk";'],
  ["CommonJS", "run.cjs", 'const { OlapTable } = require("teal-sdk");'],
]) {
  test(`the package runs in ${kind}`, async () => {
    writeFileSync(join(project, file), `${text}\nconsole.log(new OlapTable("t", { version: "1.0", orderByExpression: "tuple()" }).toSql());\n`);
    assert.equal((await run(process.execPath, [join(project, file)])).stdout, "`t_1_0`\n");
  });
}
