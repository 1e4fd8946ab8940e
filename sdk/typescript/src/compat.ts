/**
 * What existing projects import as `@514labs/moose-lib`: this package, and a stand-in for every
 * name that teal has no use for (streams, ingest APIs, workflows).
 */
import * as sdk from "./index.js";
import { registry } from "./registry.js";

const ignored = new Set<string>();

/** Can be called, constructed and looked into, and gives itself. */
const standIn: unknown = new Proxy(function () {}, {
  get: (_, name) => (name === Symbol.toPrimitive ? () => "" : standIn),
  apply: () => standIn,
  construct: () => standIn as object,
});

export const compat = new Proxy(sdk as unknown as Record<string | symbol, unknown>, {
  get(target, name) {
    if (name in target || typeof name === "symbol" || name === "then" || name === "default") return target[name];
    ignored.add(name);
    return standIn;
  },
});

/** One warning for all that was used and is of no use here. */
export function warnOfIgnored(): void {
  if (!ignored.size) return;
  registry().warnings.push({
    message: `teal ignores ${[...ignored].sort().join(", ")}: it manages tables and views only`,
  });
}
