import ts from "typescript";
import { quoteIdent, quoteString } from "../quote.js";
import { type ColumnDocument, type Location, ModelError, registry } from "../registry.js";
import type { Program } from "./program.js";

/** The tags of a type: the values of its `~teal.…` properties. */
type Tags = Map<string, ts.Type>;

/** A property's type without what only decorates it. */
interface Bare {
  type: ts.Type;
  tags: Tags;
  nullable: boolean;
}

/** What a scalar of the Format tag is. */
const formats: Record<string, string> = {
  "date-time": "DateTime64(9)",
  date: "Date32",
  uuid: "UUID",
  ipv4: "IPv4",
  ipv6: "IPv6",
};

/** The other formats of typia's: what a text has to look like, which ClickHouse has no type for. */
const texts = new Set(
  ("byte password regex email hostname idn-email idn-hostname iri iri-reference uri uri-reference uri-template url time duration " +
    "json-pointer relative-json-pointer").split(" "),
);

/** The values of `tags.Type` by their names elsewhere. */
const numbers: Record<string, string> = Object.fromEntries(
  ["Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float32", "Float64"].flatMap((name) => [
    [name, name],
    [name.toLowerCase(), name],
  ]),
);
numbers.float = "Float32";
numbers.double = "Float64";

/** The tags that only a column can have. */
const modifiers = ["default", "materialized", "alias", "ephemeral", "ttl", "codec", "comment", "renamedFrom"];

const scalarLike =
  ts.TypeFlags.StringLike | ts.TypeFlags.TemplateLiteral | ts.TypeFlags.NumberLike | ts.TypeFlags.BigIntLike | ts.TypeFlags.BooleanLike;

/** What the checker of TypeScript 5.9 knows of a mapped type's property, beside its interface. */
type Mapped = ts.Symbol & { links?: { mappedType?: ts.Type & { modifiersType?: ts.Type }; syntheticOrigin?: ts.Symbol } };

function isTag(property: ts.Symbol): boolean {
  return property.name.startsWith("~teal.") || property.name === "typia.tag";
}

/** Turns the properties of a row type into columns. */
export class Columns {
  private readonly checker: ts.TypeChecker;
  /** The object types that are being read, to notice one within itself. */
  private readonly open: ts.Type[] = [];
  /** The property that is being read, from the row down. */
  private readonly path: string[] = [];
  /** The column that is being read. */
  private at: ts.Symbol | undefined;
  private readonly place: (node: ts.Node) => Location;

  constructor(
    program: Program,
    private readonly declared: Location,
  ) {
    this.checker = program.checker;
    this.place = (node) => program.location(node);
  }

  of(type: ts.Type): ColumnDocument[] {
    const row = this.checker.typeToString(type);
    if (type.flags & ts.TypeFlags.TypeParameter) {
      return this.fail(`the row type ${row} is a type parameter`, "declare the table with the row's own type");
    }
    // The methods of a class are no columns.
    const properties = this.properties(type).filter((property) => !(property.flags & ts.SymbolFlags.Method));
    if (!(type.flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection)) || this.checker.isArrayType(type)) {
      return this.fail(`${row} is no row type`, "give an interface whose properties are the columns");
    }
    if (this.checker.getIndexInfosOfType(type).length) {
      return this.fail(`the row type ${row} has an index signature`, "name every column, or put open keys into one column of type Record<string, V>");
    }
    if (!properties.length) return this.fail(`the row type ${row} has no property`, "give it the columns");
    this.open.push(type);
    const columns = properties.map((property) => this.column(property));
    this.open.pop();
    return columns;
  }

  private column(property: ts.Symbol): ColumnDocument {
    this.path.push(property.name);
    this.at = property;
    const bare = this.bare(this.typeOf(property), property);
    const { tags } = bare;
    const kinds = (["default", "materialized", "alias", "ephemeral"] as const).filter((kind) => tags.has(kind));
    if (kinds.length > 1) this.fail(`${kinds.join(" and ")} exclude each other`, "keep one of them");
    let type = this.scalar(bare);
    // A column with a default is not nullable: a row that leaves it out gets the default.
    if (bare.nullable && !kinds.length) type = nullable(type);
    const column: ColumnDocument = { name: property.name, type };
    if (tags.has("key")) column.key = true;
    const [kind] = kinds;
    if (kind) column.default = { kind, expression: this.text(tags, kind) };
    if (tags.has("codec")) column.codec = this.text(tags, "codec");
    if (tags.has("ttl")) column.ttl = this.text(tags, "ttl");
    const comment = tags.has("comment")
      ? this.text(tags, "comment")
      : ts.displayPartsToString(property.getDocumentationComment(this.checker)).trim();
    if (comment) column.comment = comment;
    if (tags.has("renamedFrom")) column.renamedFrom = this.text(tags, "renamedFrom");
    this.path.pop();
    this.at = undefined;
    return column;
  }

  /**
   * The properties in an order of their own. Those of a mapped type (`Omit`, `Pick`, `Record`) the checker has in the order
   * in which it met their names, other models included: they have the order of the type that they are taken from, or that
   * of their names.
   */
  private properties(type: ts.Type): ts.Symbol[] {
    const found = this.checker.getPropertiesOfType(type) as Mapped[];
    const ordered = new Map<ts.Type, Iterator<Mapped>>();
    const inOrder = (mapped: ts.Type & { modifiersType?: ts.Type }): Iterator<Mapped> => {
      const names = mapped.modifiersType ? this.properties(mapped.modifiersType).map((property) => property.name) : [];
      const place = ({ links }: Mapped): number => (links?.syntheticOrigin ? names.indexOf(links.syntheticOrigin.name) : names.length);
      const own = found.filter((property) => property.links?.mappedType === mapped);
      return own.sort((a, b) => place(a) - place(b) || (a.name < b.name ? -1 : 1)).values();
    };
    return found.map((property) => {
      const mapped = property.links?.mappedType;
      if (!mapped) return property;
      const rest = ordered.get(mapped) ?? inOrder(mapped);
      ordered.set(mapped, rest);
      return rest.next().value as Mapped;
    });
  }

  private typeOf(property: ts.Symbol): ts.Type {
    const at = property.valueDeclaration ?? property.declarations?.[0];
    return at ? this.checker.getTypeOfSymbolAtLocation(property, at) : this.checker.getTypeOfSymbol(property);
  }

  /** Takes tags, null and undefined off a type. */
  private bare(type: ts.Type, property?: ts.Symbol): Bare {
    const absent = ts.TypeFlags.Undefined | ts.TypeFlags.Null | ts.TypeFlags.Void;
    let isNullable = property !== undefined && (property.flags & ts.SymbolFlags.Optional) !== 0;
    let members = type.isUnion() ? type.types : [type];
    if (members.some((member) => member.flags & absent)) isNullable = true;
    members = members.filter((member) => !(member.flags & absent));
    const tags: Tags = new Map();
    const bases = members.map((member) => this.untagged(member, tags));
    const [first] = bases;
    if (!first) return this.fail("it can only be null", "give it a type");
    if (bases.length === 1) return { type: first, tags, nullable: isNullable };
    const isWhole = members.length === (type.isUnion() ? type.types.length : 1) && bases.every((base, i) => base === members[i]);
    const whole = isWhole && !tags.size ? type : undefined;
    return { type: whole ?? union(bases), tags, nullable: isNullable };
  }

  /** The part of an intersection that is no tag; the tags are put into `tags`. */
  private untagged(type: ts.Type, tags: Tags): ts.Type {
    if (!type.isIntersection()) {
      // ClickHouseType may stand alone.
      this.takeTags(type, tags);
      return type;
    }
    const rest = type.types.filter((part) => !this.takeTags(part, tags));
    // What a brand stands beside: `string & { __brand: "Id" }`.
    const scalars = rest.filter((part) => part.flags & scalarLike);
    const [only] = scalars.length ? scalars : rest;
    return only && (rest.length === 1 || scalars.length === 1) ? only : type;
  }

  private takeTags(part: ts.Type, tags: Tags): boolean {
    if (!(part.flags & ts.TypeFlags.Object)) return false;
    const properties = this.checker.getPropertiesOfType(part);
    if (!properties.length || !properties.every(isTag)) return false;
    for (const property of properties) {
      const value = this.checker.getNonNullableType(this.typeOf(property));
      if (property.name === "typia.tag") this.takeTypiaTag(value, tags);
      else tags.set(property.name.slice("~teal.".length), value);
    }
    return true;
  }

  /** typia's own tags: `{ kind: "type" | "format", value: "…" }`. The other kinds say which values are valid. */
  private takeTypiaTag(tag: ts.Type, tags: Tags): void {
    const [kind, value] = ["kind", "value"].map((name) => {
      const property = tag.getProperty(name);
      return property && this.typeOf(property);
    });
    if (kind?.isStringLiteral() && ["type", "format"].includes(kind.value) && value) tags.set(kind.value, value);
  }

  /** Whether the type may be in LowCardinality says the server. */
  private scalar(bare: Bare): string {
    const type = this.bareScalar(bare);
    // Of an aggregate, what it holds or gives is meant.
    return bare.tags.has("lowCardinality") && !/^(Simple)?AggregateFunction\(/.test(type) ? lowCardinality(type) : type;
  }

  private bareScalar({ type, tags }: Bare): string {
    const { checker } = this;
    if (tags.has("raw")) return this.text(tags, "raw");
    if (tags.has("aggregate")) return this.aggregate(tags);
    if (tags.has("simpleAggregate")) return this.simpleAggregate(tags, type);
    if (tags.has("decimal")) {
      const [p, s] = this.tuple(tags, "decimal").map((part) => this.literal(part));
      return `Decimal(${p}, ${s})`;
    }
    if (tags.has("dateTime64")) return `DateTime64(${this.text(tags, "dateTime64")})`;
    if (tags.has("fixedString")) return `FixedString(${this.text(tags, "fixedString")})`;
    if (tags.has("type")) {
      const wanted = this.text(tags, "type");
      const known = numbers[wanted];
      if (!known) return this.fail(`unknown number type ${wanted}`, `the number types are ${[...new Set(Object.values(numbers))].join(", ")}`);
      return known;
    }
    if (tags.has("format")) {
      const wanted = this.text(tags, "format");
      if (wanted === "date" && tags.has("size") && this.text(tags, "size") === "2") return "Date";
      return formats[wanted] ?? this.textOf(wanted);
    }
    if (tags.has("json")) return this.json(tags, type);
    if (isUnresolved(type)) return this.fail("its type is not known", "import or declare it; see the table of types in docs/models-typescript.md");
    if (type.flags & ts.TypeFlags.Any) return "JSON";
    if (type.flags & ts.TypeFlags.Unknown) return this.fail("it has the type unknown", "give it a type, or any for JSON");
    const enumeration = this.enumeration(type);
    if (enumeration) return enumeration;
    if (type.flags & ts.TypeFlags.BooleanLike || isBoolean(type)) return "Bool";
    if (type.flags & ts.TypeFlags.StringLiteral || (type.isUnion() && type.types.every((part) => part.isStringLiteral()))) {
      return "LowCardinality(String)";
    }
    if (type.flags & (ts.TypeFlags.StringLike | ts.TypeFlags.TemplateLiteral)) return "String";
    if (type.flags & ts.TypeFlags.BigIntLike) return "Int64";
    if (type.flags & ts.TypeFlags.NumberLike || (type.isUnion() && type.types.every((part) => part.flags & ts.TypeFlags.NumberLike))) {
      return "Float64";
    }
    if (type.symbol?.name === "Date" && type.flags & ts.TypeFlags.Object) return "DateTime";
    if (checker.isArrayType(type)) return this.array(type);
    if (checker.isTupleType(type)) {
      return this.fail(`the type ${checker.typeToString(type)} has no ClickHouse type`, "use an interface with ClickHouseNamedTuple");
    }
    if (type.isUnion()) {
      return this.fail(`the type ${checker.typeToString(type)} has no ClickHouse type`, "use one type, with null or undefined beside it at most");
    }
    if (type.flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection)) return this.object(type, tags);
    return this.fail(`the type ${checker.typeToString(type)} has no ClickHouse type`, "see the table of types in docs/models-typescript.md");
  }

  /** A format without a type of its own. One that typia does not know either may be misspelt. */
  private textOf(format: string): string {
    const message = `the format ${format} is not known: its columns are String`;
    const { warnings } = registry();
    if (!texts.has(format) && !warnings.some((warning) => warning.message === message)) {
      warnings.push({ message, hint: `the formats with a type of their own are ${Object.keys(formats).join(", ")}`, location: this.location() });
    }
    return "String";
  }

  private array(type: ts.Type): string {
    const [item] = this.checker.getTypeArguments(type as ts.TypeReference);
    return item ? `Array(${this.nested(item)})` : this.fail("an array without an item type", "write T[]");
  }

  /** A type within another: an item of an array, a value of a map, a field of an object. */
  private nested(type: ts.Type, property?: ts.Symbol): string {
    const bare = this.bare(type, property);
    this.warnOfModifiers(bare.tags);
    const inner = this.scalar(bare);
    return bare.nullable ? nullable(inner) : inner;
  }

  /** Within another type there is only a type: ClickHouse has modifiers for columns alone. */
  private warnOfModifiers(tags: Tags): void {
    for (const name of modifiers.filter((modifier) => tags.has(modifier))) {
      registry().warnings.push({
        message: `column ${this.path.join(".")}: ${name} has no effect within another type`,
        hint: "write it at the column, or leave it out",
        location: this.declared,
      });
    }
  }

  private object(type: ts.Type, tags: Tags): string {
    const { checker } = this;
    const [index] = checker.getIndexInfosOfType(type);
    const properties = this.data(type);
    if (index) {
      if (properties.length) {
        return this.fail("an object with both named properties and an index signature", "use Record<string, V> alone, or name every property");
      }
      const isAny = index.type.flags & ts.TypeFlags.Any && !isUnresolved(index.type);
      if (isAny && index.keyType.flags & ts.TypeFlags.StringLike) return "JSON";
      return `Map(${this.nested(index.keyType)}, ${this.nested(index.type)})`;
    }
    if (checker.getSignaturesOfType(type, ts.SignatureKind.Call).length) {
      return this.fail(`the type ${checker.typeToString(type)} has no ClickHouse type`, "see the table of types in docs/models-typescript.md");
    }
    if (this.open.includes(type)) {
      return this.fail(
        `the type ${checker.typeToString(type)} contains itself`,
        "ClickHouse's types are finite: use Record<string, any> (JSON) for the part that recurs",
      );
    }
    this.open.push(type);
    const fields = properties.map((property) => {
      this.path.push(property.name);
      const inner = this.nested(this.typeOf(property), property);
      this.path.pop();
      return `${field(property.name)} ${inner}`;
    });
    this.open.pop();
    return `${tags.has("namedTuple") ? "Tuple" : "Nested"}(${fields.join(", ")})`;
  }

  /** The properties without those of the tags: of several types at once, the tags are beside them. */
  private data(type: ts.Type): ts.Symbol[] {
    return this.properties(type).filter((property) => !isTag(property));
  }

  private enumeration(type: ts.Type): string | undefined {
    const members = type.isUnion() ? type.types : [type];
    if (!members.every((member) => member.flags & ts.TypeFlags.EnumLiteral) || members.some((member) => member.flags & ts.TypeFlags.Boolean)) {
      return undefined;
    }
    const items = asDeclared(members).map((member, i) => {
      const literal = member as ts.LiteralType;
      if (typeof literal.value === "number") return { name: member.symbol.name, value: literal.value };
      return { name: String(literal.value), value: i + 1 };
    });
    const isSmall = items.every((item) => item.value >= -128 && item.value <= 127);
    return `Enum${isSmall ? 8 : 16}(${items.map((item) => `${quoteString(item.name)} = ${item.value}`).join(", ")})`;
  }

  private aggregate(tags: Tags): string {
    const [name, list] = this.tuple(tags, "aggregate");
    const parts = list ? this.checker.getTypeArguments(list as ts.TypeReference) : [];
    return `AggregateFunction(${[this.literal(name), ...parts.map((part) => this.nested(part))].join(", ")})`;
  }

  private simpleAggregate(tags: Tags, base: ts.Type): string {
    const [name, given] = this.tuple(tags, "simpleAggregate");
    const inner = given && !(given.flags & ts.TypeFlags.Unknown) ? given : base;
    const held = this.nested(inner);
    return `SimpleAggregateFunction(${this.literal(name)}, ${tags.has("lowCardinality") ? lowCardinality(held) : held})`;
  }

  private json(tags: Tags, type: ts.Type): string {
    const [paths, types, skip, regexps] = this.tuple(tags, "json");
    const list = (of: ts.Type | undefined): string[] =>
      of ? this.checker.getTypeArguments(of as ts.TypeReference).map((part) => this.literal(part)) : [];
    const isGiven = (part: ts.Type | undefined): part is ts.Type => part !== undefined && !(part.flags & ts.TypeFlags.Undefined);
    const typed = this.data(type);
    // In the order that ClickHouse has them in.
    const parts = [
      ...(isGiven(types) ? [`max_dynamic_types=${this.literal(types)}`] : []),
      ...(isGiven(paths) ? [`max_dynamic_paths=${this.literal(paths)}`] : []),
      ...[...typed].sort((a, b) => (a.name < b.name ? -1 : 1)).map((property) => `${field(property.name)} ${this.nested(this.typeOf(property))}`),
      ...list(skip).map((path) => `SKIP ${path.includes("`") ? path : field(path)}`),
      ...list(regexps).map((regexp) => `SKIP REGEXP ${quoteString(regexp)}`),
    ];
    return parts.length ? `JSON(${parts.join(", ")})` : "JSON";
  }

  private tuple(tags: Tags, name: string): readonly ts.Type[] {
    const type = tags.get(name);
    return type && this.checker.isTupleType(type) ? this.checker.getTypeArguments(type as ts.TypeReference) : [];
  }

  private text(tags: Tags, name: string): string {
    return this.literal(tags.get(name));
  }

  private literal(type: ts.Type | undefined): string {
    if (type && (type.isStringLiteral() || type.isNumberLiteral())) return String(type.value);
    return this.fail("a tag's argument must be a literal", 'such as "UInt8" or 3');
  }

  private fail(message: string, hint: string): never {
    const at = this.path.length ? `column ${this.path.join(".")}: ` : "";
    throw new ModelError(at + message, this.location(), hint);
  }

  /** Where the column is written, if that is in the project. */
  private location(): Location {
    const node = this.at?.valueDeclaration;
    const place = node && this.place(node);
    return place && !place.file.startsWith("..") && !place.file.includes("node_modules/") ? { ...this.declared, ...place } : this.declared;
  }
}

function lowCardinality(type: string): string {
  if (type.startsWith("LowCardinality(")) return type;
  return `LowCardinality(${type})`;
}

/** Nullable, around what can be: not a container, and inside of LowCardinality. */
function nullable(type: string): string {
  if (/^(Array|Nested|Map|Tuple|AggregateFunction|SimpleAggregateFunction|Point|Ring|(Multi)?LineString|(Multi)?Polygon)\b/.test(type)) return type;
  const low = /^LowCardinality\((.*)\)$/.exec(type)?.[1];
  return low ? `LowCardinality(Nullable(${low}))` : `Nullable(${type})`;
}

function field(name: string): string {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? name : quoteIdent(name);
}

/** Whether the checker could not find the type; it goes on with an `any` of its own then. */
function isUnresolved(type: ts.Type): boolean {
  return (type.flags & ts.TypeFlags.Any) !== 0 && (type as { intrinsicName?: string }).intrinsicName === "error";
}

function isBoolean(type: ts.Type): boolean {
  return type.isUnion() && type.types.every((part) => (part.flags & ts.TypeFlags.BooleanLiteral) !== 0);
}

/** The members of an enum in the order of their declaration. The checker has a union's in the order in which it met them, other models included. */
function asDeclared(members: readonly ts.Type[]): ts.Type[] {
  const place = (member: ts.Type): [string, number] => {
    const node = member.symbol.valueDeclaration;
    return [node?.getSourceFile().fileName ?? "", node?.pos ?? 0];
  };
  return [...members].sort((one, other) => {
    const [[file, at], [otherFile, otherAt]] = [place(one), place(other)];
    return file === otherFile ? at - otherAt : file < otherFile ? -1 : 1;
  });
}

/** A union of the parts left of a union's members; only asked what its members are. */
function union(types: ts.Type[]): ts.Type {
  const [first] = types;
  return Object.assign(Object.create(Object.getPrototypeOf(first) as object) as ts.UnionType, {
    flags: ts.TypeFlags.Union,
    types: [...new Set(types)],
  });
}
