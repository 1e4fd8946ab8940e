export { ClickHouseEngines, type EngineConfig } from "./engine";
export { LifeCycle } from "./lifecycle";
export { type Column, OlapTable, type OlapConfig, type TableIndex, type TableProjection } from "./table";
export { MaterializedView, type MaterializedViewConfig, SqlResource, View } from "./view";
export { Sql, sql } from "./sql";
export * from "./types";
