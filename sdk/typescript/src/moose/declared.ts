/** What has been declared so far, by name: a table with a version as `name_1.0`. */
import { registry } from "../registry.js";
import type { OlapTable } from "../table.js";
import type { MaterializedView, View } from "../view.js";

export const getTables = (): Map<string, OlapTable<any>> => new Map(registry().declared.tables) as Map<string, OlapTable<any>>;
export const getTable = (name: string): OlapTable<any> | undefined => getTables().get(name);
export const getViews = (): Map<string, View> => new Map(registry().declared.views) as Map<string, View>;
export const getView = (name: string): View | undefined => getViews().get(name);
export const getMaterializedViews = (): Map<string, MaterializedView<any>> =>
  new Map(registry().declared.materializedViews) as Map<string, MaterializedView<any>>;
export const getMaterializedView = (name: string): MaterializedView<any> | undefined => getMaterializedViews().get(name);
