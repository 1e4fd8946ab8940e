import { Int32, LowCardinality, OlapTable } from "teal-sdk";

/** A flight within the United States. */
export interface Flight {
  /** Departure, local time. */
  date: Date;
  /** Minutes late at the destination; negative when early. */
  delay: Int32;
  /** Miles. */
  distance: Int32;
  /** Airport codes, such as SFO. */
  origin: string & LowCardinality;
  destination: string & LowCardinality;
}

// The table as it began: ordered by time, which is how the data came in.
export const flights = new OlapTable<Flight>("flights", {
  version: "0.0",
  orderByFields: ["date"],
});
