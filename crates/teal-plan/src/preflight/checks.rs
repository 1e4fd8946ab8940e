use serde::Deserialize;
use teal_client::ClientError;

use super::{Preflight, as_green};
use crate::planner::PlanError;
use crate::{CopyStrategy, Migration};

impl Preflight<'_> {
    /// Conditions (`CHECK`) of green. The copy stops at a row that breaks one, also where blue has it too, and by one
    /// that blue has not, a user's INSERT into blue fails.
    pub(super) fn look_at_checks(&mut self, migration: &Migration) -> Result<(), PlanError> {
        let Migration { blue, green, .. } = migration;
        let fix = "where such rows are meant, leave the condition out of the new version; else change them first, and what writes them";
        for check in &migration.green_checks {
            let fails = format!(
                "from `teal apply` on, an INSERT into {blue} of a row that breaks the CHECK of {green} ({check}) fails"
            );
            let (blocks, says) = match (self.broken(migration, check)?, migration.strategy) {
                (Some(broken), CopyStrategy::Rewrite) => {
                    (true, format!("{broken}, at which the copy would stop"))
                }
                (Some(broken), CopyStrategy::Clone) => (
                    false,
                    format!(
                        "{broken}, and come as parts, of which ClickHouse checks none; {fails}"
                    ),
                ),
                (None, _) => (false, fails),
            };
            self.found(green, blocks, says, fix.to_owned());
        }
        if migration.strategy == CopyStrategy::Clone {
            return Ok(());
        }
        for check in &migration.common_checks {
            if let Some(broken) = self.broken(migration, check)? {
                let says = format!("{broken}, at which the copy would stop");
                self.found(green, true, says, fix.to_owned());
            }
        }
        Ok(())
    }

    /// How many of green's rows break its condition, where some do.
    fn broken(&mut self, migration: &Migration, check: &str) -> Result<Option<String>, PlanError> {
        #[derive(Deserialize)]
        struct Row {
            #[serde(rename = "_teal_rows")]
            rows: u64,
            #[serde(rename = "_teal_broken")]
            broken: u64,
        }
        // One of NULL is broken too (26.9).
        let counted = self.look_in_time::<Row>(
            &migration.green,
            &format!(
                "SELECT count() AS _teal_rows, countIf(NOT ifNull({check}, 0)) AS _teal_broken FROM {}",
                as_green(migration, check)
            ),
            &format!("rows that break its CHECK ({check})"),
        );
        match counted {
            Ok(Some(Row { rows, broken: broken @ 1.. })) => {
                Ok(Some(format!("{broken} of {rows} rows break its CHECK ({check})")))
            }
            Ok(_) => Ok(None),
            // What may throw, such as a division by zero.
            Err(PlanError::Client(ClientError::Server { name, .. })) => {
                let says =
                    format!("teal could not look for rows that break its CHECK ({check}): {name}");
                let instead = "look whether it can be computed of every row: the copy stops at one of which it cannot";
                self.found(&migration.green, false, says, instead.to_owned());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
