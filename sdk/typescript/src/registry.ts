/**
 * What the models declare, in the order of declaration. Kept on `globalThis`, so that there is one
 * registry even when a project loads the package twice, as CommonJS and as an ES module.
 */
export interface Location {
  file: string;
  line: number;
  column?: number;
  declaration?: string;
}

/** What the extractor found out about a declaration from its types, and hands to the constructor. */
export interface Declaration {
  location: Location;
  columns?: ColumnDocument[];
  /** Why the row type gives no columns, where that matters only once a table is made of it. */
  unreadable?: ModelError;
}

export interface ColumnDocument {
  name: string;
  type: string;
  key?: boolean;
  default?: { kind: "default" | "materialized" | "alias" | "ephemeral"; expression: string };
  codec?: string;
  ttl?: string;
  renamedFrom?: string;
  comment?: string;
}

export interface TableDocument {
  name: string;
  version?: string;
  database?: string;
  location: Location;
  [option: string]: unknown;
}

export interface ViewDocument {
  name: string;
  location: Location;
  [option: string]: unknown;
}

export interface Registry {
  tables: TableDocument[];
  views: ViewDocument[];
  warnings: { message: string; hint?: string; location?: Location }[];
  /** The objects themselves: tables by `name` or `name_1.0`, views by name. */
  declared: { tables: Map<string, object>; views: Map<string, object>; materializedViews: Map<string, object> };
}

const key = Symbol.for("teal-sdk.registry");

export function registry(): Registry {
  const holder = globalThis as unknown as Record<symbol, Registry | undefined>;
  holder[key] ??= {
    tables: [],
    views: [],
    warnings: [],
    declared: { tables: new Map(), views: new Map(), materializedViews: new Map() },
  };
  return holder[key];
}

/** An error about a declaration; the extractor shows where it is. */
export class ModelError extends Error {
  constructor(
    message: string,
    readonly location: Location,
    readonly hint?: string,
  ) {
    super(message);
    this.name = "ModelError";
  }
}

/** The place of a declaration made outside the extractor. */
export const nowhere: Declaration = { location: { file: "", line: 0 } };

/** Where the extractor keeps the declarations at run time. */
export const holder = "__tealDeclarations";

/** Whether the models are run to be read, and not by an application. */
export function isExtracted(): boolean {
  return holder in globalThis;
}
