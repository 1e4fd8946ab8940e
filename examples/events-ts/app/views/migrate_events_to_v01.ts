import { MaterializedView, sql } from "@514labs/moose-lib";
import { events } from "../tables/events";
import { eventsV1, EventV1 } from "../tables/events_v01";   // EventV1 is not exported there: a warning, no failure
export const migrateEventsToV01 = new MaterializedView<EventV1>({
  materializedViewName: "mv_events_to_0_1", selectTables: [events],
  selectStatement: sql`SELECT * FROM ${events}`, targetTable: eventsV1,
});
