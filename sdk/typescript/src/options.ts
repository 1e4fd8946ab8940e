import { LifeCycle } from "./lifecycle.js";
import { type Location, ModelError } from "./registry.js";

/** Runs checks that throw what is wrong, and says of which declaration it is. */
export function checked(what: string, location: Location, checks: () => void): void {
  try {
    checks();
  } catch (error) {
    if (error instanceof ModelError || !(error instanceof Error)) throw error;
    throw new ModelError(`${what}: ${error.message}`, location);
  }
}

/** Models are run without a check of their types, so a misspelt option would be lost without a word. */
export function onlyKnown(given: object, known: Iterable<string>, of = ""): void {
  const names = [...known];
  if (typeof given !== "object" || given === null) throw new Error(`${of || "the configuration"} is no object; write { ${names[0]}: … }`);
  const unknown = Object.keys(given).find((option) => !names.includes(option));
  if (unknown) throw new Error(`unknown option ${of ? `${of}.` : ""}${unknown}; the options are ${names.join(", ")}`);
}

export function textsOnly(given: object, names: readonly string[], of = ""): void {
  for (const name of names) {
    const value = (given as Record<string, unknown>)[name];
    if (value === undefined || typeof value === "string") continue;
    const instead = typeof value === "number" || typeof value === "boolean" ? `: write ${name}: "${value}"` : "";
    throw new Error(`${of ? `${of}.` : ""}${name} is a text, and ${shown(value)} is none${instead}`);
  }
}

export function listOnly(given: object, name: string, of = ""): void {
  const value = (given as Record<string, unknown>)[name];
  if (value === undefined || Array.isArray(value)) return;
  throw new Error(`${of ? `${of}.` : ""}${name} is a list: write ${name}: [${shown(value)}]`);
}

export function columnsOnly(given: object, name: string): void {
  listOnly(given, name);
  const columns = (given as Record<string, unknown[] | undefined>)[name] ?? [];
  const odd = columns.findIndex((column) => typeof column !== "string");
  if (odd >= 0) throw new Error(`${name} lists columns by name, and ${shown(columns[odd])} is no name`);
}

export function lifeCycleOnly(given: { lifeCycle?: unknown }): void {
  const { lifeCycle } = given;
  if (lifeCycle === undefined || (Object.values(LifeCycle) as unknown[]).includes(lifeCycle)) return;
  throw new Error(`there is no lifeCycle ${shown(lifeCycle)}; there are ${Object.values(LifeCycle).join(", ")}`);
}

/** Settings as ClickHouse takes them: as texts. */
export function settingsAsText(settings: Record<string, unknown> | undefined): Record<string, string> | undefined {
  if (settings === undefined) return undefined;
  if (typeof settings !== "object" || settings === null || Array.isArray(settings)) {
    throw new Error('settings are names with values: write settings: { index_granularity: 4096 }');
  }
  return Object.fromEntries(
    Object.entries(settings).filter(([, value]) => value !== undefined).map(([name, value]) => {
      if (typeof value === "boolean") return [name, value ? "1" : "0"];
      if (typeof value === "number" || typeof value === "bigint" || typeof value === "string") return [name, String(value)];
      throw new Error(`settings.${name} is a text, a number or a boolean, and ${shown(value)} is none`);
    }),
  );
}

export function shown(value: unknown): string {
  if (typeof value === "function" || typeof value === "bigint") return String(value);
  return JSON.stringify(value) ?? String(value);
}
