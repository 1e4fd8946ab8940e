import { quoteIdent } from "./quote.js";

/** What may stand in a `${…}` of `sql`: tables, columns, views and other pieces of SQL. */
export interface SqlReference {
  /** The text that stands for it in SQL. */
  toSql(): string;
}

/** A piece of SQL. */
export class Sql implements SqlReference {
  constructor(
    readonly text: string,
    /** Values that are no SQL: parameters of a query, not allowed in a view. */
    readonly parameters: readonly unknown[] = [],
  ) {}

  toSql(): string {
    return this.text;
  }

  /** This piece with another behind it. */
  append(other: Sql): Sql {
    return new Sql(this.text + other.text, [...this.parameters, ...other.parameters]);
  }
}

function isReference(value: unknown): value is SqlReference {
  return typeof value === "object" && value !== null && typeof (value as SqlReference).toSql === "function";
}

function statement(strings: TemplateStringsArray, ...values: unknown[]): Sql {
  const parameters: unknown[] = [];
  const text = strings.reduce((before, part, i) => {
    const value = values[i - 1];
    if (value instanceof Sql) parameters.push(...value.parameters);
    if (isReference(value)) return before + value.toSql() + part;
    parameters.push(value);
    return `${before}{p${parameters.length}}${part}`;
  });
  return new Sql(text, parameters);
}

/** Makes SQL of a template: `` sql`SELECT * FROM ${events}` ``. */
export const sql = Object.assign(statement, {
  statement,
  fragment: statement,
  /** Joins pieces, with `, ` between them unless told otherwise. A separator such as `AND` gets its spaces. */
  join(parts: readonly SqlReference[], separator = ", "): Sql {
    const parameters = parts.flatMap((part) => (part instanceof Sql ? [...part.parameters] : []));
    const between = separator.includes(" ") ? separator : ` ${separator} `;
    return new Sql(parts.map((part) => part.toSql()).join(between), parameters);
  },
  /** Text that is SQL already. */
  raw: (text: string): Sql => new Sql(text),
});

/** The column of a table, in `sql`. */
export class ColumnReference implements SqlReference {
  constructor(
    readonly name: string,
    private readonly type: string,
  ) {}

  /** A column of aggregate states is read through its merging function, which has the parameters of the function. */
  toSql(): string {
    const name = quoteIdent(this.name);
    const aggregate = /^AggregateFunction\((\w+)(\([^()]*\))?/.exec(this.type);
    return aggregate ? `${aggregate[1]}Merge${aggregate[2] ?? ""}(${name})` : name;
  }

  toString(): string {
    return this.toSql();
  }
}
