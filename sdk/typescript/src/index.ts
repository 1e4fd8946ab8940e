export { ClickHouseEngines, type Engine, type EngineConfig } from "./engine.js";
export { LifeCycle } from "./lifecycle.js";
export { type Column, OlapTable, type OlapConfig, type TableConstraint, type TableIndex, type TableProjection } from "./table.js";
export { MaterializedView, type MaterializedViewConfig, SqlResource, View, type ViewOptions } from "./view.js";
export { Sql, sql } from "./sql.js";
export * from "./types.js";
