import { MaterializedView, sql } from "teal-sdk";
import { Flight, flights } from "../tables/flights";
import { flightsV01 } from "../tables/flights_v01";

// How a row of 0.0 becomes a row of 0.1. teal attaches this view and copies the history through it.
export const migrateFlightsToV01 = new MaterializedView<Flight>({
  materializedViewName: "mv_flights_to_0_1",
  selectTables: [flights],
  selectStatement: sql`SELECT * FROM ${flights}`,
  targetTable: flightsV01,
});
