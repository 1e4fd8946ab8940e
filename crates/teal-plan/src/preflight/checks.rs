use serde::Deserialize;

use super::{Preflight, as_green};
use crate::planner::PlanError;
use crate::{CopyStrategy, Migration};

impl Preflight<'_> {
    /// Conditions (`CHECK`) that green has and blue has not. The copy stops at a row that breaks one, and a user's
    /// INSERT into blue fails by it.
    pub(super) fn look_at_checks(&mut self, migration: &Migration) -> Result<(), PlanError> {
        #[derive(Deserialize)]
        struct Row {
            #[serde(rename = "_teal_rows")]
            rows: u64,
            #[serde(rename = "_teal_broken")]
            broken: u64,
        }
        let Migration { blue, green, .. } = migration;
        for check in &migration.green_checks {
            let fails = format!(
                "from `teal apply` on, an INSERT into {blue} of a row that breaks the CHECK of {green} ({check}) fails"
            );
            // One of NULL is broken too (26.9).
            let counted = self.look_in_time::<Row>(
                green,
                &format!(
                    "SELECT count() AS _teal_rows, countIf(NOT ifNull({check}, 0)) AS _teal_broken FROM {}",
                    as_green(migration, check)
                ),
                &format!("rows that break its CHECK ({check})"),
            )?;
            let (blocks, says) = match (counted, migration.strategy) {
                (Some(Row { rows, broken: broken @ 1.. }), CopyStrategy::Rewrite) => (
                    true,
                    format!(
                        "{broken} of {rows} rows break its CHECK ({check}), at which the copy would stop"
                    ),
                ),
                (Some(Row { rows, broken: broken @ 1.. }), CopyStrategy::Clone) => (
                    false,
                    format!(
                        "{broken} of {rows} rows break its CHECK ({check}), and come as parts, of which ClickHouse checks none; {fails}"
                    ),
                ),
                (Some(_) | None, _) => (false, fails),
            };
            let fix = "where such rows are meant, leave the condition out of the new version; else change them first, and what writes them";
            self.found(green, blocks, says, fix.to_owned());
        }
        Ok(())
    }
}
