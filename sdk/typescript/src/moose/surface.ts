/**
 * What existing projects find in `@514labs/moose-lib`, as far as it declares tables and views. All
 * other names are stand-ins: see `compat.ts`.
 */
export * from "../index.js";
export * from "./dead-letter.js";
export * from "./declared.js";
export * from "./pipeline.js";
export * from "./runtime-env.js";
