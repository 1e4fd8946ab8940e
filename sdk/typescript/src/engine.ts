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

/** The engine and its parameters, as they stand flat in a table's configuration. */
export interface EngineConfig {
  engine?: ClickHouseEngines | `${ClickHouseEngines}`;
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
}

/** An engine as the document has it. */
export interface Engine {
  name: string;
  arguments?: string[];
}

/** Engines without an ORDER BY or PARTITION BY of their own. */
const unsorted = new Set(["S3Queue", "Buffer", "Distributed", "Kafka", "IcebergS3", "Merge"]);

/** What of a configuration belongs to the engine. */
export const engineOptions = [
  "engine",
  "ver",
  "isDeleted",
  "columns",
  "sign",
  "keeperPath",
  "replicaName",
  "cluster",
  "targetDatabase",
  "targetTable",
  "shardingKey",
  "policyName",
] as const;

export function isSorted(engine: string): boolean {
  return !unsorted.has(engine);
}

/** Reads the engine from a configuration; throws with what is wrong. */
export function readEngine(config: EngineConfig): Engine {
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
  } else if (given("keeperPath")) {
    throw new Error(`${name} takes no keeperPath: it is not replicated`);
  }
  const needs = (option: "sign" | "ver" | "targetDatabase" | "targetTable" | "cluster"): string => {
    const value = config[option];
    if (value === undefined) throw new Error(`${name} needs ${option}`);
    return value;
  };
  switch (name.replace(/^Replicated/, "")) {
    case "ReplacingMergeTree":
      if (given("isDeleted") && !given("ver")) throw new Error("isDeleted needs ver: the version says which row is the last");
      if (given("ver")) args.push(quoteIdent(config.ver!));
      if (given("isDeleted")) args.push(quoteIdent(config.isDeleted!));
      break;
    case "SummingMergeTree":
      if (config.columns?.length) args.push(`(${config.columns.map(quoteIdent).join(", ")})`);
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
    default:
      throw new Error(`the engine ${name} cannot be declared in TypeScript yet; create it by hand, and teal leaves it alone`);
  }
  return args.length ? { name, arguments: args } : { name };
}
