import { Key, OlapTable } from "@514labs/moose-lib";
interface EventV1 { id: Key<string>; name: string; createdAt: Date; }
export const eventsV1 = new OlapTable<EventV1>("events", { version: "0.1", orderByFields: ["id", "createdAt"] });
