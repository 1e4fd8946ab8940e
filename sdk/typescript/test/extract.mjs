// Runs the extractor as teal does, on a project in a temporary directory.
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import Ajv from "ajv/dist/2020.js";

const run = promisify(execFile);
export const root = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
const extractor = join(root, "sdk/typescript/extract.cjs");
const schema = JSON.parse(readFileSync(join(root, "crates/teal-models/schema/model.schema.json"), "utf8"));
const isDocument = new Ajv.default({ strict: false }).compile(schema);

/** The document of a project that is there, which the schema of documents accepts. */
export async function extractProject(project, models = "app") {
  const directory = mkdtempSync(join(tmpdir(), "teal-ts-test-"));
  try {
    const out = join(directory, "document.json");
    await run(process.execPath, [extractor, "--project", project, "--models", models, "--out", out], { timeout: 60_000 });
    const document = JSON.parse(readFileSync(out, "utf8"));
    if (!isDocument(document)) throw new Error(`not a document: ${JSON.stringify(isDocument.errors)}`);
    return document;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The document of a project with these files; a text alone is `app/models.ts`. */
export async function extract(files) {
  const project = mkdtempSync(join(tmpdir(), "teal-ts-project-"));
  try {
    const all = typeof files === "string" ? { "app/models.ts": files } : files;
    for (const [file, text] of Object.entries(all)) {
      mkdirSync(dirname(join(project, file)), { recursive: true });
      writeFileSync(join(project, file), text);
    }
    return await extractProject(project);
  } finally {
    rmSync(project, { recursive: true });
  }
}
