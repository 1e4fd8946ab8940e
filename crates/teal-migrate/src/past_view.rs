//! Rows that reach the old table past the view: `ATTACH PARTITION`, `MOVE PARTITION … TO TABLE`, an INSERT that
//! failed between its two tables, a flush of a Buffer table that was bound to the old table's name before an
//! exchange.
//!
//! Before a proof of parity they are what it finds, and a repair copies. Those that come while it reads (which takes
//! hours, of a large table), or behind it, it cannot find:
//!
//! 1. The proof has taken hold of the old table's parts.
//! 2. Somebody attaches a partition to the old table.
//! 3. The proof passes, readers and writers are moved.
//!
//! Where the two tables are compared later anyway (behind an exchange whose view runs back, and when a view is
//! turned), it is found then. Elsewhere the parts of the old table that came since the proof began are looked
//! through: behind an exchange, when nobody writes to the old table by `teal cutover`'s count, and before the old
//! table is dropped.

use teal_plan::{Fold, Migration};
use teal_schema::quote_ident;

use crate::alone::{Alone, Known, MOST_PARTS, names_of, newer, only_parts};
use crate::fence::not_clean;
use crate::state::Migrating;
use crate::verify::{Sought, shown, sides};
use crate::{MigrateError, Operator};

/// So many rows are looked for in pieces, each in all of the new table. Of more, the tables are compared as a whole.
const MOST_ROWS: u64 = 32_000_000;

impl Operator<'_> {
    /// What came to the old table since the last proof began must be in the new one.
    ///
    /// # Errors
    /// [`MigrateError::NewLacks`]; [`MigrateError::NotClean`] where merges came in between.
    pub(crate) fn refuse_past_view(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let (old, new) = migrating.tables_now();
        // Of tables that are gone others speak.
        if !self.exists(old)? || !self.exists(new)? {
            return Ok(());
        }
        let Some((known, is_by_key)) = known_in_new(migrating, self.folds_by_itself(old)?) else {
            return Ok(());
        };
        let parts = self.hashed_parts(old)?;
        let came = newer(migrating, &parts);
        if came.is_empty() {
            return Ok(());
        }
        let rows = came.iter().map(|part| part.rows).sum::<u64>();
        let alone = if rows > MOST_ROWS && migrating.migration.rows_tell() {
            let rows = self.seek(migrating, Sought::OfBlue)?.missing;
            Alone { rows, ..Alone::default() }
        } else {
            let filter = match came.len() > MOST_PARTS {
                true => String::new(),
                false => only_parts(&[(old, &came)]),
            };
            let (sides, columns) = (sides(&known, old, new)?, shown(&known));
            let (these, those) = (&sides.blue, &sides.green);
            let known = Known { these, those, shown: &columns, is_by_key, filter: &filter };
            let alone = self.rows_alone(&known, rows)?;
            if !names_of(came).is_subset(&names_of(&self.hashed_parts(old)?)) {
                return Err(not_clean(&format!("a moment without merges of {old}")));
            }
            alone
        };
        match alone.rows {
            0 => Ok(()),
            rows => {
                let such = match alone.text() {
                    text if text.is_empty() => text.into(),
                    text => format!(", such as {text}"),
                };
                let reason = format!(
                    "they came there behind the last proof of parity and not through the view (ATTACH PARTITION, say, or an INSERT that failed half-way), or were deleted from {new} since{such}; copy what is wanted yourself (INSERT INTO … SELECT)"
                );
                let (old, new) = (old.clone(), new.clone());
                Err(MigrateError::NewLacks { old, new, rows, reason: reason.into() })
            }
        }
    }
}

/// The migration with those columns only by which a row of the old table is known in the new one, and whether that
/// is a key. None where merges of either may have left nothing to know it by.
fn known_in_new(migrating: &Migrating, old_folds: bool) -> Option<(Migrating, bool)> {
    let migration = &migrating.migration;
    let key = match &migration.fold {
        Some(Fold::Version { key, is_deleted: None, .. })
        | Some(Fold::Merge { key, drops_zeros: false, .. })
        | Some(Fold::Last { key, sign: None }) => Some(key),
        Some(_) => return None,
        None if old_folds || migration.green_folds => return None,
        None => None,
    };
    let mut columns = migration.columns.clone();
    if let Some(key) = key {
        columns.retain(|column| {
            key.iter().any(|it| *it == column.name || *it == quote_ident(&column.name))
        });
        // Whose time is over is told by other columns as well.
        if columns.is_empty() || migration.expired.is_some() {
            return None;
        }
    }
    let known = Migration { columns, fold: None, green_folds: false, ..migration.clone() };
    Some((Migrating { migration: known, ..migrating.clone() }, key.is_some()))
}
