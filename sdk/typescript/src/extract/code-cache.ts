import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import Module from "node:module";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import vm from "node:vm";

/**
 * Loads a large module with V8's code cache: half of the time that the TypeScript compiler takes to
 * load is its compilation, which is the same each time. Without the cache, or with one that V8
 * does not take, the module loads as usual.
 */
export function load(name: string): void {
  const file = require.resolve(name);
  const { version } = require(`${name}/package.json`) as { version: string };
  const cacheFile = join(cacheDirectory(), `${name}-${version}-node-${process.version}-${process.arch}.v8`);
  const script = new vm.Script(Module.wrap(readFileSync(file, "utf8")), {
    filename: file,
    cachedData: read(cacheFile),
  });
  const module = new Module(file);
  module.filename = file;
  module.paths = (Module as unknown as { _nodeModulePaths(directory: string): string[] })._nodeModulePaths(dirname(file));
  require.cache[file] = module as NodeModule;
  const run = script.runInThisContext() as (...of: unknown[]) => void;
  run.call(module.exports, module.exports, Module.createRequire(file), module, file, dirname(file));
  module.loaded = true;
  if (script.cachedDataRejected !== false) process.once("exit", () => write(cacheFile, script));
}

function cacheDirectory(): string {
  const { TEAL_CACHE_DIR: own, XDG_CACHE_HOME: user } = process.env;
  return own || join(user || join(homedir(), ".cache"), "teal");
}

function read(file: string): Buffer | undefined {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}

/** Written at the end, when the functions that are used have been compiled. */
function write(file: string, script: vm.Script): void {
  try {
    mkdirSync(dirname(file), { recursive: true });
    const whole = `${file}.${process.pid}`;
    writeFileSync(whole, script.createCachedData());
    renameSync(whole, file);
  } catch {
    // A cache that cannot be written is no cache; the next load takes its time again.
  }
}
