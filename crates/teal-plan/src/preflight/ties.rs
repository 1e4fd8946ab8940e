use serde::Deserialize;
use teal_schema::{hash_128, quote_ident};

use crate::planner::PlanError;
use crate::preflight::{Preflight, as_green};
use crate::{CopyStrategy, Fold, MergedColumn, Migration};

/// Keys looked at, at most: each takes memory of the server.
const MOST_KEYS: u32 = 10_000_000;

impl Preflight<'_> {
    /// Of the rows of a key that have the same version, an engine keeps the one that came last. A copy does
    /// not keep that order.
    pub(crate) fn look_at_ties(&mut self, migration: &Migration) -> Result<(), PlanError> {
        #[derive(Deserialize)]
        struct Row {
            keys: u64,
        }
        if let Some(Fold::Merge { merged, .. }) = &migration.fold
            && migration.strategy == CopyStrategy::Rewrite
        {
            self.look_at_picked(migration, merged);
        }
        let Some(Fold::Version { key, version, .. }) = &migration.fold else {
            return Ok(());
        };
        let columns = migration.columns.iter().map(|column| quote_ident(&column.name));
        let columns = columns.collect::<Vec<_>>().join(", ");
        let key = key.join(", ");
        let looked = self.look_in_time::<Row>(
            &migration.blue,
            &format!(
                "SELECT countIf(rows > 1) AS keys FROM (\
                     SELECT uniqExact(_teal_row) AS rows FROM (\
                         SELECT {} AS _teal_key, {} AS _teal_version, {} AS _teal_row FROM {}\
                     ) GROUP BY _teal_key, _teal_version ORDER BY _teal_version DESC LIMIT 1 BY _teal_key \
                     SETTINGS max_rows_to_group_by = {MOST_KEYS}, group_by_overflow_mode = 'any'\
                 )",
                hash_128(&key),
                quote_ident(version),
                hash_128(&columns),
                as_green(migration, &format!("{key}, {columns}"))
            ),
            "rows of a key that have the same version",
        )?;
        let Some(row) = looked else {
            return Ok(());
        };
        if row.keys > 0 {
            let says = format!(
                "{} keys have several rows of the same version ({version}), which is their greatest: which of them stays in {} is not said",
                row.keys, migration.green
            );
            let fix = "see that either is right; verification counts those of which the two tables show different rows";
            self.found(&migration.blue, false, says, fix.to_owned());
        }
        Ok(())
    }
    /// Of rows that tie, `argMin` and `argMax` keep the one that is merged first. A state does not tell whether
    /// any did.
    fn look_at_picked(&mut self, migration: &Migration, merged: &[MergedColumn]) {
        for column in merged {
            let picks = ["argMin", "argMax"].into_iter().find(|it| column.function.starts_with(it));
            let Some(picks) = picks else { continue };
            let says = format!(
                "column {} keeps what {picks} picks: of rows of a key that tie for it, either may stay, and where the two tables show different ones, the verification fails",
                column.column
            );
            let fix = "see that no two rows of a key tie, say by a finer time";
            self.found(&migration.blue, false, says, fix.to_owned());
        }
    }
}
