import { Key, OlapTable } from "@514labs/moose-lib";
interface EventV0 { id: string; name: string; createdAt: Date; }
export const events = new OlapTable<EventV0>("events", { version: "0.0", orderByFields: ["id"] });
