import type { EngineConfig } from "./engine.js";
import type { LifeCycle } from "./lifecycle.js";
import { checked, columnsOnly, lifeCycleOnly, onlyKnown, textsOnly } from "./options.js";
import { quoteIdent } from "./quote.js";
import { type Declaration, ModelError, nowhere, registry } from "./registry.js";
import type { Sql, SqlReference } from "./sql.js";
import { defined, OlapTable } from "./table.js";

export interface MaterializedViewConfig<T> {
  materializedViewName: string;
  selectStatement: Sql | string;
  /** The tables that the SELECT reads. */
  selectTables: (OlapTable<any> | View)[];
  /** Where the rows go: a table, or the name and layout of one that the view makes for itself. */
  targetTable?: OlapTable<T> | ({ name: string; orderByFields?: (keyof T & string)[] } & Pick<EngineConfig, "engine">);
  /** The older form of `targetTable`. */
  tableName?: string;
  engine?: EngineConfig["engine"];
  orderByFields?: (keyof T & string)[];
  lifeCycle?: LifeCycle | `${LifeCycle}`;
  /** Where the view is, other than in the project's own database. */
  database?: string;
  /** Notes of other tools: teal has no use for them. */
  metadata?: unknown;
}

const options = [
  "materializedViewName",
  "selectStatement",
  "selectTables",
  "targetTable",
  "tableName",
  "engine",
  "orderByFields",
  "lifeCycle",
  "database",
  "metadata",
];

/** Forwards what is inserted into the tables that it reads to its target. */
export class MaterializedView<T = unknown> implements SqlReference {
  readonly name: string;
  readonly targetTable: OlapTable<T>;
  readonly database?: string;

  constructor(config: MaterializedViewConfig<T>, declaration: Declaration = nowhere) {
    const { location } = declaration;
    this.name = config.materializedViewName;
    const fail = (message: string, hint?: string): never => {
      throw new ModelError(`view ${this.name}: ${message}`, location, hint);
    };
    checked(`view ${this.name}`, location, () => {
      onlyKnown(config, options);
      if (!this.name) throw new Error("it has no materializedViewName");
      textsOnly(config, ["materializedViewName", "tableName", "database"]);
      columnsOnly(config, "orderByFields");
      lifeCycleOnly(config);
    });
    this.database = config.database;
    this.targetTable = target(config, declaration, fail);
    if (this.targetTable.name === this.name) fail("it has the name of its target table", "give the view another name");
    const select = selectText(this.name, config.selectStatement, declaration);
    const tables = config.selectTables;
    if (!Array.isArray(tables) || tables.some((table) => !(table instanceof OlapTable) && !(table instanceof View))) {
      fail("selectTables must list the OlapTables that the SELECT reads");
    }
    registry().views.push(defined({
      name: this.name,
      database: this.database,
      select,
      selectTables: tables.filter((table) => table instanceof OlapTable).map(reference),
      target: reference(this.targetTable),
      lifeCycle: config.lifeCycle,
      location,
    }));
    registry().declared.materializedViews.set(this.name, this);
  }

  toSql(): string {
    return qualified(this);
  }
}

function target<T>(
  config: MaterializedViewConfig<T>,
  declaration: Declaration,
  fail: (message: string, hint?: string) => never,
): OlapTable<T> {
  const given = config.targetTable;
  if (given instanceof OlapTable) return given;
  if (given !== undefined) {
    checked(`view ${config.materializedViewName}`, declaration.location, () => {
      onlyKnown(given, ["name", "engine", "orderByFields"], "targetTable");
      textsOnly(given, ["name"], "targetTable");
    });
  }
  const name = given?.name ?? config.tableName;
  if (!name) return fail("it has no targetTable");
  registry().warnings.push({
    message: `view ${config.materializedViewName}: its target ${name} is given by name alone, so it is a table without a version`,
    hint: "declare the target as an OlapTable with a version",
    location: declaration.location,
  });
  return new OlapTable<T>(
    name,
    defined({ engine: given?.engine ?? config.engine, orderByFields: given?.orderByFields ?? config.orderByFields }),
    declaration,
  );
}

/** The SELECT of a view, which has no place for parameters. */
function selectText(view: string, select: Sql | string, { location }: Declaration): string {
  if (typeof select === "string") return select;
  if (!Array.isArray(select?.parameters)) {
    throw new ModelError(`view ${view}: it has no SELECT`, location, "give it as sql`SELECT …`, or as a text");
  }
  if (select.parameters.length) {
    throw new ModelError(
      `view ${view}: its selectStatement has the value ${JSON.stringify(select.parameters[0])}, and a view cannot have parameters`,
      location,
      "write the value into the SQL, or use sql.raw(…)",
    );
  }
  return select.toSql();
}

function reference(table: OlapTable): { name: string; version?: string; database?: string } {
  return defined({ name: table.name, version: table.config.version || undefined, database: table.config.database });
}

/** The view's name, with its database where one is set. */
function qualified(view: { name: string; database?: string }): string {
  const name = quoteIdent(view.name);
  return view.database ? `${quoteIdent(view.database)}.${name}` : name;
}

export interface ViewOptions {
  /** Where the view is, other than in the project's own database. */
  database?: string;
  /** Notes of other tools: teal has no use for them. */
  metadata?: unknown;
}

/** With the notes that existing projects give in their place. */
const viewOptions = ["database", "metadata", "description", "source"];

/** A plain view: a SELECT with a name. */
export class View implements SqlReference {
  readonly database?: string;

  constructor(
    readonly name: string,
    select: Sql | string,
    /** The tables that the SELECT reads. */
    baseTables: (OlapTable<any> | View)[] = [],
    options: ViewOptions = {},
    declaration: Declaration = nowhere,
  ) {
    const { location } = declaration;
    checked(`view ${name}`, location, () => {
      if (!Array.isArray(baseTables)) throw new Error("its third argument lists the OlapTables that the SELECT reads");
      textsOnly(options, ["database"]);
    });
    const unknown = Object.keys(options).find((option) => !viewOptions.includes(option));
    if (unknown) {
      // No error: existing projects may have any notes here.
      registry().warnings.push({ message: `view ${name}: unknown option ${unknown}`, hint: "the options are database, metadata", location });
    }
    this.database = options.database;
    registry().views.push(
      defined({
        name,
        database: this.database,
        select: selectText(name, select, declaration),
        selectTables: baseTables.filter((table) => table instanceof OlapTable).map(reference),
        location,
      }),
    );
    registry().declared.views.set(name, this);
  }

  toSql(): string {
    return qualified(this);
  }
}

/** Statements to set something up and tear it down. teal does not run them. */
export class SqlResource {
  constructor(
    readonly name: string,
    _setup: unknown,
    _teardown: unknown,
  ) {
    registry().warnings.push({ message: `SqlResource ${name} is not run by teal` });
  }
}
