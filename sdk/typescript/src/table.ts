import { ClickHouseEngines, type Engine, type EngineConfig, engineOptions, isSorted, readEngine } from "./engine.js";
import type { LifeCycle } from "./lifecycle.js";
import { quoteIdent } from "./quote.js";
import { type ColumnDocument, type Declaration, ModelError, nowhere, registry } from "./registry.js";
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
  settings?: Record<string, string>;
  ttl?: string;
  indexes?: TableIndex[];
  projections?: TableProjection[];
  constraints?: TableConstraint[];
  comment?: string;
  /** Notes of other tools, and what fills a table for them: teal has no use for them. */
  metadata?: unknown;
  seedFilter?: unknown;
}

const options = new Set<string>([
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
]);

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
    try {
      this.register(declaration, columns);
    } catch (error) {
      if (error instanceof ModelError || !(error instanceof Error)) throw error;
      throw new ModelError(`table ${name}: ${error.message}`, declaration.location);
    }
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
    const unknown = Object.keys(config).find((option) => !options.has(option));
    if (unknown) throw new Error(`unknown option ${unknown}; the options are ${[...options].join(", ")}`);
    const engine: Engine = readEngine(config);
    const { tables } = registry();
    const version = config.version || undefined;
    if (version !== undefined && !/^[0-9]+([._][0-9]+)*$/.test(version)) {
      throw new Error(`${JSON.stringify(version)} is no version: write numbers with dots between them, such as "0.1"`);
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
        settings: config.settings,
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

/** The items of the sorting key: the `Key` columns where none is given. */
function sortingKey(config: OlapConfig, columns: ColumnDocument[], engine: string): string[] {
  const { orderByFields: fields, orderByExpression: expression } = config;
  if (fields?.length && expression?.trim()) {
    throw new Error("orderByFields and orderByExpression exclude each other: give one of them");
  }
  if (!isSorted(engine)) {
    if (fields?.length || expression || config.partitionBy) throw new Error(`the engine ${engine} takes no ORDER BY and no PARTITION BY`);
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
