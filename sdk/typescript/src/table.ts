import { ClickHouseEngines, type Engine, type EngineConfig, engineOptions, isSorted, readEngine } from "./engine.js";
import type { LifeCycle } from "./lifecycle.js";
import { checked, columnsOnly, lifeCycleOnly, listOnly, onlyKnown, settingsAsText, shown, textsOnly } from "./options.js";
import { quoteIdent } from "./quote.js";
import { type ColumnDocument, type Declaration, isExtracted, ModelError, nowhere, registry } from "./registry.js";
import { ColumnReference, type SqlReference } from "./sql.js";

export type Column = ColumnReference;

export interface TableIndex {
  name: string;
  expression: string;
  type: string;
  arguments?: (string | number)[];
  granularity?: number;
}

export interface TableProjection {
  name: string;
  body: string;
}

export interface TableConstraint {
  name: string;
  /** `check`, the default: an INSERT must satisfy it. `assume`: it is taken as true. */
  kind?: "check" | "assume";
  expression: string;
}

/** The configuration of a table, beside its engine's. */
export interface OlapConfig<T = any> extends EngineConfig {
  /** Numbers with dots between them. A new version is a new table beside the old one. */
  version?: string;
  /** The sorting key, as columns. */
  orderByFields?: (unknown extends T ? string : keyof T & string)[];
  /** The sorting key, as an expression. */
  orderByExpression?: string;
  partitionBy?: string;
  sampleByExpression?: string;
  primaryKeyExpression?: string;
  lifeCycle?: LifeCycle | `${LifeCycle}`;
  database?: string;
  /** Numbers and booleans are written as text. */
  settings?: Record<string, string | number | boolean>;
  ttl?: string;
  indexes?: TableIndex[];
  projections?: TableProjection[];
  constraints?: TableConstraint[];
  comment?: string;
  /** Notes of other tools, and what fills a table for them: teal has no use for them. */
  metadata?: unknown;
  seedFilter?: unknown;
}

const options = [
  ...engineOptions,
  "version",
  "orderByFields",
  "orderByExpression",
  "partitionBy",
  "sampleByExpression",
  "primaryKeyExpression",
  "lifeCycle",
  "database",
  "settings",
  "ttl",
  "indexes",
  "projections",
  "constraints",
  "comment",
  "metadata",
  "seedFilter",
];

/** A table, with rows of type T. */
export class OlapTable<T = any> implements SqlReference {
  /** The columns, for use in `sql`. */
  readonly columns: { readonly [Name in keyof T & string]: ColumnReference };
  readonly config: OlapConfig<T>;

  constructor(
    /** The logical name. */
    readonly name: string,
    config?: OlapConfig<T>,
    declaration: Declaration = nowhere,
  ) {
    this.config = config ?? {};
    const columns = declaration.columns ?? [];
    this.columns = Object.fromEntries(
      columns.map((column) => [column.name, new ColumnReference(column.name, column.type)]),
    ) as typeof this.columns;
    checked(`table ${name}`, declaration.location, () => this.register(declaration, columns));
  }

  get physicalName(): string {
    const version = this.config.version;
    return version ? `${this.name}_${version.replaceAll(".", "_")}` : this.name;
  }

  /** The physical table, with its database where one is set. */
  toSql(): string {
    const name = quoteIdent(this.physicalName);
    return this.config.database ? `${quoteIdent(this.config.database)}.${name}` : name;
  }

  toString(): string {
    return this.toSql();
  }

  private register(declaration: Declaration, columns: ColumnDocument[]): void {
    const config = this.config as OlapConfig;
    if (declaration === nowhere && isExtracted()) {
      throw new ModelError(
        `table ${this.name}: its columns are not known, since it is not made by new OlapTable<Row>(…) itself, but by a class of its own, say`,
        declaration.location,
        "write new OlapTable<Row>(…), where Row is the interface of a row",
      );
    }
    check(config);
    const engine: Engine = readEngine(config);
    const { tables } = registry();
    const version = config.version || undefined;
    if (version !== undefined && !/^[0-9]{1,18}([._][0-9]{1,18})*$/.test(version)) {
      throw new Error(`${JSON.stringify(version)} is no version: write numbers with dots between them, of 18 digits at most, such as "0.1"`);
    }
    const before = tables.find((table) => table.name === this.name && table.version === version && table.database === config.database);
    if (before) {
      throw new Error(
        `OlapTable with name ${this.name} and version ${version ?? "none"} already exists: declared at ${before.location.file}:${before.location.line}`,
      );
    }
    const orderBy = sortingKey(config, columns, engine.name);
    registry().declared.tables.set(version ? `${this.name}_${version}` : this.name, this);
    tables.push(
      defined({
        name: this.name,
        version,
        database: config.database,
        columns,
        engine,
        orderBy,
        primaryKey: config.primaryKeyExpression,
        partitionBy: config.partitionBy,
        sampleBy: config.sampleByExpression,
        ttl: config.ttl,
        settings: settingsAsText(config.settings),
        indexes: config.indexes?.map((index) => ({
          name: index.name,
          expression: index.expression,
          type: index.arguments?.length ? `${index.type}(${index.arguments.join(", ")})` : index.type,
          granularity: index.granularity ?? 1,
        })),
        projections: config.projections,
        constraints: config.constraints?.map(({ name, kind, expression }) => ({ name, kind: kind ?? "check", expression })),
        comment: config.comment,
        lifeCycle: config.lifeCycle,
        // A Distributed table names its cluster in the engine.
        cluster: engine.name === ClickHouseEngines.Distributed ? undefined : config.cluster,
        location: declaration.location,
      }),
    );
  }

  static withReplacingMergeTree<T>(name: string, config?: Omit<OlapConfig<T>, "engine">, declaration?: Declaration): OlapTable<T> {
    return new OlapTable<T>(name, { ...config, engine: ClickHouseEngines.ReplacingMergeTree }, declaration);
  }

  static withSummingMergeTree<T>(name: string, config?: Omit<OlapConfig<T>, "engine">, declaration?: Declaration): OlapTable<T> {
    return new OlapTable<T>(name, { ...config, engine: ClickHouseEngines.SummingMergeTree }, declaration);
  }

  static withAggregatingMergeTree<T>(name: string, config?: Omit<OlapConfig<T>, "engine">, declaration?: Declaration): OlapTable<T> {
    return new OlapTable<T>(name, { ...config, engine: ClickHouseEngines.AggregatingMergeTree }, declaration);
  }

  static withMergeTree<T>(name: string, config?: Omit<OlapConfig<T>, "engine">, declaration?: Declaration): OlapTable<T> {
    return new OlapTable<T>(name, { ...config, engine: ClickHouseEngines.MergeTree }, declaration);
  }
}

const expressions = ["orderByExpression", "partitionBy", "sampleByExpression", "primaryKeyExpression", "ttl"];

/** The options by their names and kinds. */
function check(config: OlapConfig): void {
  onlyKnown(config, options);
  textsOnly(config, [...(config.version ? ["version"] : []), ...expressions, "database", "cluster", "comment", "ver", "isDeleted", "sign"]);
  columnsOnly(config, "orderByFields");
  columnsOnly(config, "columns");
  lifeCycleOnly(config);
  for (const list of ["indexes", "projections", "constraints"]) listOnly(config, list);
  config.indexes?.forEach((index, i) => {
    const of = `indexes[${i}]`;
    part(index, ["name", "expression", "type"], ["arguments", "granularity"], of);
    listOnly(index, "arguments", of);
    const { granularity } = index;
    if (granularity !== undefined && !(Number.isInteger(granularity) && granularity >= 1)) {
      throw new Error(`${of}.granularity is a whole number from 1 on, and ${shown(granularity)} is none`);
    }
  });
  config.projections?.forEach((projection, i) => {
    part(projection, ["name", "body"], [], `projections[${i}]`);
  });
  config.constraints?.forEach((constraint, i) => {
    const of = `constraints[${i}]`;
    part(constraint, ["name", "expression"], ["kind"], of);
    if (![undefined, "check", "assume"].includes(constraint.kind)) {
      throw new Error(`${of}.kind is check or assume, and not ${shown(constraint.kind)}`);
    }
  });
}

/** One of a table's parts: the texts that it must have, and what else it may have. */
function part(given: object, needed: string[], others: string[], of: string): void {
  onlyKnown(given, [...needed, ...others], of);
  const missing = needed.find((name) => (given as Record<string, unknown>)[name] === undefined);
  if (missing) throw new Error(`${of} has no ${missing}`);
  textsOnly(given, needed, of);
}

/** The items of the sorting key: the `Key` columns where none is given. */
function sortingKey(config: OlapConfig, columns: ColumnDocument[], engine: string): string[] {
  const { orderByFields: fields, orderByExpression: expression } = config;
  if (fields?.length && expression?.trim()) {
    throw new Error("orderByFields and orderByExpression exclude each other: give one of them");
  }
  const isInSql = typeof config.engine === "object";
  if (isInSql ? !engine.endsWith("MergeTree") : !isSorted(engine)) {
    // Of an engine as it stands in SQL, the server knows what it takes.
    const isRefused = fields?.length || expression || (config.partitionBy && !isInSql);
    if (isRefused) throw new Error(`the engine ${engine} takes no ORDER BY and no PARTITION BY`);
    return [];
  }
  if (expression?.trim()) return [unwrapped(expression)];
  const keys = columns.filter((column) => column.key).map((column) => column.name);
  // What the primary key is made of is sorted by, at least.
  if (!fields?.length && config.primaryKeyExpression) return [unwrapped(config.primaryKeyExpression)];
  // An empty list or expression with no key column says that no key is meant.
  if (!keys.length && (fields?.length === 0 || expression !== undefined)) return ["tuple()"];
  const chosen = fields?.length ? fields : keys;
  for (const field of chosen) {
    if (columns.length && !columns.some((column) => column.name === field)) {
      throw new Error(`orderByFields names ${field}, which is no column; the columns are ${columns.map((column) => column.name).join(", ")}`);
    }
  }
  return chosen.map(quoteIdent);
}

/** `(a, b)` as `a, b`, since the key is put in parentheses again. */
function unwrapped(expression: string): string {
  const inner = /^\s*\(([^()]*)\)\s*$/.exec(expression)?.[1];
  return inner ?? expression;
}

/** Without the options that were not given. */
export function defined<O extends object>(object: O): O {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as O;
}
