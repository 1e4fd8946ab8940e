import { OlapTable } from "teal-sdk";
import { Flight } from "./flights";

// The same rows, ordered by route, which is what they are asked for.
export const flightsV01 = new OlapTable<Flight>("flights", {
  version: "0.1",
  orderByFields: ["origin", "destination", "date"],
});
