/** A row of a table for records that a stream could not take. */
export interface DeadLetterModel {
  originalRecord: Record<string, any>;
  errorMessage: string;
  errorType: string;
  failedAt: Date;
  source: "api" | "transform" | "table";
}

/** The same, with the record's own type beside it. */
export interface DeadLetter<T> extends DeadLetterModel {
  asTyped: () => T;
}
