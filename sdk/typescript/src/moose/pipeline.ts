import { type Declaration, ModelError, nowhere } from "../registry.js";
import type { ColumnReference } from "../sql.js";
import { type OlapConfig, OlapTable } from "../table.js";
import { ignore, standIn } from "./stand-in.js";

export interface IngestPipelineConfig<T> {
  /** `true`: a table with the defaults. */
  table?: boolean | OlapConfig<T>;
  stream?: unknown;
  ingestApi?: unknown;
  ingest?: unknown;
  deadLetterQueue?: unknown;
  /** The version of the table. */
  version?: string;
  path?: string;
  metadata?: unknown;
  lifeCycle?: OlapConfig<T>["lifeCycle"];
}

/** A table with a stream and an ingest API before it, of which teal manages the table. */
export class IngestPipeline<T = unknown> {
  readonly table?: OlapTable<T>;
  readonly columns: { readonly [Name in keyof T & string]: ColumnReference };
  readonly stream?: any;
  readonly ingestApi?: any;
  readonly deadLetterQueue?: any;

  constructor(
    readonly name: string,
    readonly config: IngestPipelineConfig<T>,
    declaration: Declaration = nowhere,
  ) {
    const { table, version, lifeCycle, stream, deadLetterQueue } = config;
    const ingestApi = config.ingestApi ?? config.ingest;
    if (table) {
      // Only a table's rows must be columns: a stream takes any.
      if (declaration.unreadable) throw declaration.unreadable;
      const own = typeof table === "object" ? table : {};
      if (own.engine === "Merge") {
        throw new ModelError(`pipeline ${name}: a table of the engine Merge cannot be written to`, declaration.location, "give the table another engine");
      }
      const chosen: OlapConfig<T> = { ...own, lifeCycle: own.lifeCycle ?? lifeCycle };
      if (version) chosen.version = version;
      this.table = new OlapTable<T>(name, chosen, declaration);
    }
    this.columns = this.table?.columns ?? ({} as typeof this.columns);
    for (const [part, given] of Object.entries({ stream, ingestApi, deadLetterQueue })) {
      if (given) ignore(`the ${part} of IngestPipeline`);
    }
    if (stream) this.stream = standIn;
    if (ingestApi) this.ingestApi = standIn;
    if (deadLetterQueue) this.deadLetterQueue = standIn;
  }
}
