// Builds the package twice: as CommonJS, which also holds the extractor, and as ES modules.
const { execFileSync } = require("node:child_process");
const { rmSync, writeFileSync } = require("node:fs");
const { join } = require("node:path");

const dist = join(__dirname, "dist");
const tsc = require.resolve("typescript/bin/tsc");
rmSync(dist, { recursive: true, force: true });
for (const [format, options] of [
  ["cjs", ["--module", "commonjs"]],
  ["esm", ["--module", "es2022", "--moduleResolution", "bundler"]],
]) {
  const out = join(dist, format);
  execFileSync(process.execPath, [tsc, "-p", __dirname, "--outDir", out, ...options], { stdio: "inherit" });
  writeFileSync(join(out, "package.json"), JSON.stringify({ type: format === "cjs" ? "commonjs" : "module" }) + "\n");
}
