/**
 * What existing projects import as `@514labs/moose-lib`: this package, and a stand-in for every
 * name that teal has no use for (streams, ingest APIs, workflows).
 */
import { ignore, standIn } from "./stand-in.js";
import * as surface from "./surface.js";

export const compat = new Proxy(surface as unknown as Record<string | symbol, unknown>, {
  get(target, name) {
    if (name in target || typeof name === "symbol" || name === "then" || name === "default") return target[name];
    ignore(name);
    return standIn;
  },
});
