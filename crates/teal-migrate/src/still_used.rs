//! What keeps the old table from being dropped: its time is not over, or somebody uses it.

use std::time::Duration;

use jiff::Timestamp;
use teal_catalog::{Use, uses};
use teal_client::{ClientError, Session};
use teal_plan::Cutover;

use crate::state::{CutOver, Migrating};
use crate::{MigrateError, Operator};

/// A use that is longer ago does not keep a table.
const LOOKS_BACK: Duration = Duration::from_secs(24 * 60 * 60);

impl Operator<'_> {
    pub(crate) fn refuse_while_kept(
        &self,
        migrating: &Migrating,
        state: &CutOver,
    ) -> Result<(), MigrateError> {
        let until = kept_until(state.at, self.options.retention);
        if (self.options.now)() < until {
            return Err(MigrateError::Kept { old: migrating.tables_now().0.clone(), until });
        }
        if state.cutover != Cutover::Exchange {
            self.refuse_if_written(migrating, state.blue_rows)?;
        }
        if self.server.is_exclusive() {
            return Ok(());
        }
        self.command("SYSTEM FLUSH LOGS")?;
        let now = (self.options.now)();
        let used = self.with_control(|session| uses_of_old(session, migrating, state, now))?;
        match used.is_empty() {
            true => Ok(()),
            false => {
                let (old, new) = migrating.tables_now();
                Err(MigrateError::StillRead { old: old.clone(), new: new.clone(), used })
            }
        }
    }

    fn refuse_if_written(
        &self,
        migrating: &Migrating,
        rows_at_cutover: u64,
    ) -> Result<(), MigrateError> {
        let blue = &migrating.migration.blue;
        let rows = self.rows_of(blue)?;
        match rows > rows_at_cutover {
            true => Err(MigrateError::StillUsed {
                blue: blue.clone(),
                green: migrating.migration.green.clone(),
                rows: rows - rows_at_cutover,
            }),
            false => Ok(()),
        }
    }
}

/// Who has used the old table since the cutover, by the server's log.
pub(crate) fn uses_of_old(
    session: &mut dyn Session,
    migrating: &Migrating,
    state: &CutOver,
    now: Timestamp,
) -> Result<Vec<Use>, ClientError> {
    // What it forwards from the new table to the old one is no use of that.
    let view = state.forwards_back.then_some(&migrating.migration.view);
    let since = Duration::try_from(now.duration_since(state.at)).unwrap_or_default();
    uses(session, migrating.tables_now().0, view, since.min(LOOKS_BACK))
}

fn kept_until(cutover: Timestamp, retention: Duration) -> Timestamp {
    cutover.saturating_add(retention).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_kept_for_its_time_and_not_a_second_longer() {
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let until = kept_until(at, Duration::from_secs(86_400));
        assert_eq!(until, Timestamp::from_second(1_700_086_400).unwrap());
        assert_eq!(kept_until(at, Duration::ZERO), at);
        assert_eq!(kept_until(at, Duration::MAX), Timestamp::MAX);
    }
}
