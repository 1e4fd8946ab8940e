import { onlyMembers } from "./members.js";
import { quoteIdent, quoteString } from "./quote.js";

export enum ClickHouseEngines {
  MergeTree = "MergeTree",
  ReplacingMergeTree = "ReplacingMergeTree",
  SummingMergeTree = "SummingMergeTree",
  AggregatingMergeTree = "AggregatingMergeTree",
  CollapsingMergeTree = "CollapsingMergeTree",
  VersionedCollapsingMergeTree = "VersionedCollapsingMergeTree",
  ReplicatedMergeTree = "ReplicatedMergeTree",
  ReplicatedReplacingMergeTree = "ReplicatedReplacingMergeTree",
  ReplicatedSummingMergeTree = "ReplicatedSummingMergeTree",
  ReplicatedAggregatingMergeTree = "ReplicatedAggregatingMergeTree",
  ReplicatedCollapsingMergeTree = "ReplicatedCollapsingMergeTree",
  ReplicatedVersionedCollapsingMergeTree = "ReplicatedVersionedCollapsingMergeTree",
  S3Queue = "S3Queue",
  S3 = "S3",
  Buffer = "Buffer",
  Distributed = "Distributed",
  IcebergS3 = "IcebergS3",
  Kafka = "Kafka",
  Merge = "Merge",
}
onlyMembers("ClickHouseEngines", ClickHouseEngines, 'another engine is given as it stands in SQL: { name: "Memory", arguments: [] }');

/** The engine and its parameters, as they stand flat in a table's configuration. */
export interface EngineConfig {
  /** By name, with the parameters below; or as it stands in SQL, name and arguments. */
  engine?: ClickHouseEngines | `${ClickHouseEngines}` | Engine;
  /** The version column of a Replacing or VersionedCollapsing engine. */
  ver?: string;
  /** Replacing: the column that marks a row as deleted; needs `ver`. */
  isDeleted?: string;
  /** Summing: the columns to sum. */
  columns?: string[];
  /** Collapsing: the column that holds 1 or -1. */
  sign?: string;
  /** Replicated: both or neither. */
  keeperPath?: string;
  replicaName?: string;
  /** Distributed: */
  cluster?: string;
  targetDatabase?: string;
  targetTable?: string;
  shardingKey?: string;
  policyName?: string;
  /** S3 and IcebergS3: */
  path?: string;
  /** S3Queue: */
  s3Path?: string;
  /** S3, S3Queue, IcebergS3, Kafka: the format of the data. */
  format?: string;
  compression?: string;
  /** S3: */
  partitionStrategy?: string;
  partitionColumnsInDataFile?: string | boolean;
  /** S3Queue: HTTP headers of its requests. */
  headers?: Record<string, string>;
  awsAccessKeyId?: string;
  awsSecretAccessKey?: string;
  noSign?: boolean;
  /** Kafka: */
  brokerList?: string;
  topicList?: string;
  groupName?: string;
  /** Merge: */
  sourceDatabase?: string;
  tablesRegexp?: string;
  /** Buffer: */
  numLayers?: number;
  minTime?: number;
  maxTime?: number;
  minRows?: number;
  maxRows?: number;
  minBytes?: number;
  maxBytes?: number;
  flushTime?: number;
  flushRows?: number;
  flushBytes?: number;
}

const bufferLimits = ["numLayers", "minTime", "maxTime", "minRows", "maxRows", "minBytes", "maxBytes"] as const;

/** An engine as the document has it. */
export interface Engine {
  name: string;
  arguments?: string[];
}

const ofS3 = ["format", "compression", "awsAccessKeyId", "awsSecretAccessKey", "noSign"] as const;

/** The parameters that an engine has, by its name without `Replicated`. */
const parameters: Record<string, readonly (keyof EngineConfig)[]> = {
  MergeTree: [],
  ReplacingMergeTree: ["ver", "isDeleted"],
  SummingMergeTree: ["columns"],
  AggregatingMergeTree: [],
  CollapsingMergeTree: ["sign"],
  VersionedCollapsingMergeTree: ["sign", "ver"],
  Distributed: ["cluster", "targetDatabase", "targetTable", "shardingKey", "policyName"],
  S3: ["path", ...ofS3, "partitionStrategy", "partitionColumnsInDataFile"],
  S3Queue: ["s3Path", ...ofS3, "headers"],
  IcebergS3: ["path", ...ofS3],
  Kafka: ["brokerList", "topicList", "groupName", "format"],
  Merge: ["sourceDatabase", "tablesRegexp"],
  Buffer: ["targetDatabase", "targetTable", ...bufferLimits, "flushTime", "flushRows", "flushBytes"],
};
const ofReplicas = ["keeperPath", "replicaName"] as const;
const allParameters = [...new Set([...Object.values(parameters).flat(), ...ofReplicas])];

/** What of a configuration belongs to the engine. */
export const engineOptions = ["engine", ...allParameters] as const;

/** Throws where a parameter is given that the engine would not use. Any table may have a cluster. */
function refuseOthers(config: EngineConfig, engine: string): void {
  const used = parameters[engine.replace(/^Replicated/, "")] ?? [];
  const isReplicated = engine.startsWith("Replicated");
  const isOther = (option: keyof EngineConfig): boolean =>
    config[option] !== undefined && option !== "cluster" && !used.includes(option) && !(isReplicated && (ofReplicas as readonly string[]).includes(option));
  const other = allParameters.find(isOther);
  if (!other) return;
  const takers = Object.keys(parameters).filter((name) => parameters[name]?.includes(other));
  throw new Error(`${engine} takes no ${other}${takers.length ? `: it is a parameter of ${takers.join(", ")}` : ": it is not replicated"}`);
}

export function isSorted(engine: string): boolean {
  return engine.endsWith("MergeTree") || engine === "S3";
}

/** An engine that is given as it stands in SQL. */
function sqlEngine(engine: Engine): Engine {
  const isRight =
    typeof engine.name === "string" && /^\w+$/.test(engine.name) && (engine.arguments ?? []).every((argument) => typeof argument === "string");
  if (!isRight) throw new Error('an engine as it stands in SQL has a name and texts as arguments: { name: "Memory", arguments: [] }');
  return engine.arguments?.length ? { name: engine.name, arguments: engine.arguments } : { name: engine.name };
}

/** Where the data is, and who may read it. */
function s3(config: EngineConfig, path: string): string[] {
  if (config.noSign) return [quoteString(path), "NOSIGN"];
  if (config.awsAccessKeyId === undefined) return [quoteString(path)];
  return [path, config.awsAccessKeyId, config.awsSecretAccessKey ?? ""].map(quoteString);
}

function isTrue(given: string | boolean): boolean {
  return given === true || given === "1" || given === "true";
}

function headers(given: Record<string, string>): string {
  return `headers(${Object.entries(given).map(([name, value]) => `${quoteString(name)} = ${quoteString(value)}`).join(", ")})`;
}

/** A database by name, or as an expression: `currentDatabase()`, `REGEXP('…')`. */
function database(given: string): string {
  return given.includes("(") ? given : quoteString(given);
}

/** Columns as one argument: in parentheses, unless it is a single one. */
function list(columns: string[]): string {
  return columns.length === 1 ? columns.join() : `(${columns.join(", ")})`;
}

/** Reads the engine from a configuration; throws with what is wrong. */
export function readEngine(config: EngineConfig): Engine {
  if (typeof config.engine === "object") {
    const engine = sqlEngine(config.engine);
    // Its arguments are all that it takes.
    refuseOthers(config, `the engine ${engine.name} as it stands in SQL`);
    return engine;
  }
  const name: string = config.engine ?? "MergeTree";
  if (!(Object.values(ClickHouseEngines) as string[]).includes(name)) {
    throw new Error(`unknown engine ${JSON.stringify(name)}; the engines are ${Object.values(ClickHouseEngines).join(", ")}`);
  }
  const given = (option: keyof EngineConfig): boolean => config[option] !== undefined;
  if (given("keeperPath") !== given("replicaName")) {
    throw new Error("keeperPath and replicaName go together: give both or neither");
  }
  const args: string[] = [];
  if (name.startsWith("Replicated")) {
    if (given("keeperPath")) {
      if (given("cluster")) throw new Error("with a cluster, the server makes keeperPath and replicaName: give neither");
      args.push(quoteString(config.keeperPath!), quoteString(config.replicaName!));
    }
  }
  refuseOthers(config, name);
  const needs = <O extends keyof EngineConfig>(option: O): NonNullable<EngineConfig[O]> => {
    const value = config[option];
    if (value === undefined || value === null) throw new Error(`${name} needs ${option}`);
    return value;
  };
  switch (name.replace(/^Replicated/, "")) {
    case "ReplacingMergeTree":
      if (given("isDeleted") && !given("ver")) throw new Error("isDeleted needs ver: the version says which row is the last");
      if (given("ver")) args.push(quoteIdent(config.ver!));
      if (given("isDeleted")) args.push(quoteIdent(config.isDeleted!));
      break;
    case "SummingMergeTree":
      if (config.columns?.length) args.push(list(config.columns.map(quoteIdent)));
      break;
    case "CollapsingMergeTree":
      args.push(quoteIdent(needs("sign")));
      break;
    case "VersionedCollapsingMergeTree":
      args.push(quoteIdent(needs("sign")), quoteIdent(needs("ver")));
      break;
    case "Distributed":
      args.push(quoteString(needs("cluster")), quoteString(needs("targetDatabase")), quoteString(needs("targetTable")));
      if (given("shardingKey")) args.push(config.shardingKey!);
      if (given("policyName")) args.push(quoteString(config.policyName!));
      break;
    case "MergeTree":
    case "AggregatingMergeTree":
      break;
    case "S3":
      args.push(...s3(config, needs("path")), quoteString(needs("format")));
      if (given("compression")) args.push(quoteString(config.compression!));
      if (given("partitionStrategy")) args.push(`partition_strategy = ${quoteString(config.partitionStrategy!)}`);
      if (given("partitionColumnsInDataFile")) args.push(`partition_columns_in_data_file = ${isTrue(config.partitionColumnsInDataFile!) ? 1 : 0}`);
      break;
    case "S3Queue":
      args.push(...s3(config, needs("s3Path")), quoteString(needs("format")));
      if (given("compression")) args.push(quoteString(config.compression!));
      if (given("headers")) args.push(headers(config.headers!));
      break;
    case "IcebergS3":
      args.push(...s3(config, needs("path")), quoteString(needs("format")));
      if (given("compression")) args.push(quoteString(config.compression!));
      break;
    case "Kafka":
      for (const option of ["brokerList", "topicList", "groupName", "format"] as const) args.push(quoteString(needs(option)));
      break;
    case "Merge":
      args.push(database(needs("sourceDatabase")), quoteString(needs("tablesRegexp")));
      break;
    case "Buffer": {
      args.push(quoteString(needs("targetDatabase")), quoteString(needs("targetTable")));
      for (const option of bufferLimits) args.push(String(needs(option)));
      const flushes = ["flushTime", "flushRows", "flushBytes"] as const;
      const last = flushes.filter(given).at(-1);
      // They are told apart by their place.
      for (const option of flushes.slice(0, last ? flushes.indexOf(last) + 1 : 0)) {
        if (!given(option)) throw new Error(`${last} needs ${option} before it`);
        args.push(String(config[option]));
      }
      break;
    }
  }
  return args.length ? { name, arguments: args } : { name };
}
