// Builds the package twice: as CommonJS, which also holds the extractor, and as ES modules.
const { execFileSync } = require("node:child_process");
const { rmSync, writeFileSync } = require("node:fs");
const { join } = require("node:path");

const dist = join(__dirname, "dist");
const tsc = require.resolve("typescript/bin/tsc");
rmSync(dist, { recursive: true, force: true });
for (const [folder, type, config] of [
  ["cjs", "commonjs", "tsconfig.json"],
  ["esm", "module", "tsconfig.esm.json"],
]) {
  execFileSync(process.execPath, [tsc, "-p", join(__dirname, config)], { stdio: "inherit" });
  writeFileSync(join(dist, folder, "package.json"), `${JSON.stringify({ type })}\n`);
}
