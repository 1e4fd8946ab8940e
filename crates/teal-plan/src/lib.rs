//! Compares what the models declare with what a server has, and says what to do about it: the
//! plan. Planning only reads; the desired tables are created in a shadow database, which is
//! dropped again.

mod alter;
mod begun;
mod change;
mod computed;
mod declared;
mod dependents;
mod diff;
mod drift;
mod drops;
mod exchanged;
mod flow;
mod fold;
mod history;
mod in_order;
mod migration;
mod needs;
mod older;
mod plan;
mod planner;
mod preflight;
mod rollup;
mod views;

pub use diff::{Change, Field, compare};
pub use drift::{Check, Drift, check, definition_changes};
pub use fold::{Compared, Fold, MergedColumn, compared_state};
pub use history::{History, PastMigration, Standing};
pub use migration::{CopyColumn, CopyStrategy, Cutover, FenceKind, MERGE_STOPS, Migration};
pub use needs::Needs;
pub use plan::{AlterCost, Conflict, Finding, Operation, Plan, PlanFile, PlanFileError, Statement};
pub use planner::{PlanError, PlanOptions, make_plan};
pub use preflight::{
    ENABLE_PART_LOG, GLOBAL_RIGHTS, MIGRATION_RIGHTS, OWN_DATABASES, OWN_RIGHTS, RowPolicy, Values,
    expired, may_lose, preflight, row_policies, values,
};
