import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import type ts from "typescript";
import { warnOfIgnored } from "../moose/stand-in.js";
import { type Location, ModelError, registry } from "../registry.js";
import { type Found, findDeclarations } from "./declarations.js";
import { Modules } from "./modules.js";
import { modelFiles, Program } from "./program.js";

interface Failure {
  message: string;
  hint?: string;
  location?: Location;
  trace?: string;
}

const { values } = parseArgs({
  options: { project: { type: "string" }, models: { type: "string" }, out: { type: "string" } },
});
const project = resolve(values.project ?? ".");
const folder = resolve(project, values.models ?? "app");
const out = values.out;
if (!out) throw new Error("--out FILE is missing");

function finish(error?: Failure): never {
  warnOfIgnored();
  const { tables, views, warnings } = registry();
  writeFileSync(out!, JSON.stringify({ formatVersion: 1, tables, views, warnings, error }));
  // Timers or sockets that models left open must not keep the process.
  exit(0);
}

const exit: (code: number) => never = process.exit.bind(process);
process.setSourceMapsEnabled(true);

function extract(): void {
  const files = modelFiles(folder);
  const program = new Program(project, files);
  const sources = program.sources();
  const found = new Map<string, Map<number, Found>>(
    sources.map((source: ts.SourceFile) => [source.fileName, findDeclarations(program, source)]),
  );
  const modules = new Modules(program, found);
  for (const file of files) {
    process.exit = (code): never => {
      throw new ModelError(`the model called process.exit(${code ?? ""})`, { file: program.relative(file), line: 1 }, "a model declares; let it end by itself");
    };
    try {
      modules.run(file);
    } catch (error) {
      finish(failure(error, program.relative(file)));
    }
  }
  finish();
}

/** An error of the user's code, with the user's part of the stack. */
function failure(error: unknown, file: string): Failure {
  if (error instanceof ModelError) {
    const location = error.location.file ? error.location : userFrame(error) ?? { file, line: 1 };
    return { message: error.message, hint: error.hint, location };
  }
  if ((error as { code?: string } | undefined)?.code === "ERR_REQUIRE_ASYNC_MODULE") {
    return { message: "the model awaits something at its top level", hint: "a model declares, and waits for nothing", location: { file, line: 1 } };
  }
  if (!(error instanceof Error)) return { message: `the model threw ${String(error)}`, location: { file, line: 1 } };
  const frames = (error.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line) && line.includes(project) && !line.includes(__dirname));
  return {
    message: `${error.name}: ${error.message.split("\nRequire stack:")[0]}`,
    location: userFrame(error) ?? { file, line: 1 },
    trace: frames.length ? frames.map((line) => line.trim().replaceAll(`${project}/`, "")).join("\n") : undefined,
  };
}

function userFrame(error: Error): Location | undefined {
  for (const line of (error.stack ?? "").split("\n")) {
    const at = /\(?([^()\s]+):(\d+):(\d+)\)?$/.exec(line);
    if (at?.[1]?.startsWith(`${project}/`) && !at[1].includes("/node_modules/") && !at[1].startsWith(__dirname)) {
      return { file: at[1].slice(project.length + 1), line: Number(at[2]), column: Number(at[3]) };
    }
  }
  return undefined;
}

process.on("uncaughtException", (error) => finish(failure(error, "")));
try {
  extract();
} catch (error) {
  finish(failure(error, ""));
}
