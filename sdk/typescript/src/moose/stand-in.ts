import { registry } from "../registry.js";

const ignored = new Set<string>();

/** Notes that the models use something that teal has no use for. */
export function ignore(what: string): void {
  ignored.add(what);
}

/** Can be called, constructed and looked into, and gives itself. */
export const standIn: unknown = new Proxy(constructible, {
  get: (target, name) => {
    if (name === Symbol.toPrimitive) return () => "";
    // A class may extend it, and `await` must not take it for a promise.
    if (name === "prototype") return target.prototype;
    if (name === "then") return undefined;
    // Nothing to go through.
    if (name === Symbol.iterator) return function* () {};
    return standIn;
  },
  apply: () => standIn,
  construct: () => standIn as object,
});

/** An arrow function is not. */
function constructible(): void {}

/** One warning for all that was used and is of no use here. */
export function warnOfIgnored(): void {
  if (!ignored.size) return;
  registry().warnings.push({
    message: `teal ignores ${[...ignored].sort().join(", ")}: it manages tables and views only`,
  });
}
