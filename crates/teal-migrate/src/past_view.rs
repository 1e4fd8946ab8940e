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
//! through, at the end of the cutover, and where that is by app also when nobody writes to the old table any more.
//!
//! Where merges leave nothing by which a row of the old table is known in the new one (signs, sums that may be
//! dropped, deleted versions, an old table that folds by itself), that cannot be told.

use teal_plan::{Fold, Migration};
use teal_schema::{QualifiedName, quote_ident};

use crate::alone::{Alone, MOST_PARTS, Pair, names_of, newer, only_parts};
use crate::carry::CANNOT_TELL;
use crate::fence::{HashedPart, not_clean};
use crate::phase::CutOver;
use crate::state::Migrating;
use crate::turn::cut_over;
use crate::verify::{Sought, shown, sides};
use crate::{Event, MigrateError, Operator, Phase, Update};

/// So many rows are looked for in pieces, each in all of the new table. Of more, the tables are compared as a whole.
const MOST_ROWS: u64 = 32_000_000;

impl Operator<'_> {
    /// Looks through what came to the old table since the last proof began: all of it must be in the new one. When it
    /// was once, what the new one lacks later, users have deleted there.
    ///
    /// # Errors
    /// [`MigrateError::NewLacks`]; [`MigrateError::NotClean`] where merges came in between.
    pub(crate) fn look_past_view(&self, migrating: &mut Migrating) -> Result<(), MigrateError> {
        let alone = self.rows_past_view(migrating)?;
        if alone.rows == 0 {
            return self.record_compared(migrating);
        }
        let (old, new) = migrating.tables_now();
        let rows = alone.rows;
        let such = match alone.text() {
            text if text.is_empty() => String::new(),
            text => format!(", such as {text}"),
        };
        let change = self.loss_of_new(migrating, false)?;
        let deleted = match &change {
            Some(change) => format!("were deleted from {new} since ({change})"),
            None => format!("were deleted from {new} since"),
        };
        let reason = format!(
            "they came there behind the last proof of parity and not through the view (ATTACH PARTITION, say, or an INSERT that failed half-way), or {deleted}{such}; copy what is wanted yourself (INSERT INTO … SELECT)"
        );
        if change.is_some() && cut_over(migrating)?.compared {
            let what = format!("{old} has {rows} rows that {new} lacks: {reason}");
            self.observer.update(Update::Warning { what });
            return Ok(());
        }
        let (old, new) = (old.clone(), new.clone());
        Err(MigrateError::NewLacks { old, new, rows, reason: reason.into() })
    }

    pub(crate) fn record_compared(&self, migrating: &mut Migrating) -> Result<(), MigrateError> {
        match &migrating.phase {
            Phase::CutOver(CutOver { compared: false, .. }) => {
                self.record(migrating, Event::Compared)
            }
            _ => Ok(()),
        }
    }

    /// The rows of the old table's newer parts that the new one lacks.
    fn rows_past_view(&self, migrating: &Migrating) -> Result<Alone, MigrateError> {
        let (old, new) = migrating.tables_now();
        // Of tables that are gone others speak.
        if !self.exists(old)? || !self.exists(new)? {
            return Ok(Alone::default());
        }
        let Some((known, is_by_key)) = known_in_new(migrating, self.folds_by_itself(old)?) else {
            return Ok(Alone::default());
        };
        let parts = self.parts_at_rest(old)?;
        let came = newer(migrating, &parts);
        if came.is_empty() {
            return Ok(Alone::default());
        }
        let (read, only) = match came.len() > MOST_PARTS {
            true => (parts.iter().collect(), String::new()),
            false => (came.clone(), only_parts(&[(old, &came)])),
        };
        let rows = read.iter().map(|part| part.rows).sum::<u64>();
        if rows > MOST_ROWS && migrating.migration.rows_tell() {
            let found = self.seek(migrating, Sought::OfBlue)?;
            return match (found.missing, found.unsure) {
                (0, 1..) => Err(not_clean(CANNOT_TELL)),
                (rows, _) => Ok(Alone { rows, ..Alone::default() }),
            };
        }
        let (sides, shown) = (sides(&known, old, new)?, shown(&known));
        let (these, those) = (&sides.blue, &sides.green);
        let pair = Pair { these, those, shown: &shown, is_by_key, only: &only };
        let alone = self.rows_alone(&pair, rows)?;
        // Of one that was merged meanwhile, nothing was read.
        match names_of(came).is_subset(&names_of(&self.hashed_parts(old)?)) {
            true => Ok(alone),
            false => Err(not_clean(&format!("a moment without merges of {old}"))),
        }
    }

    /// The old table's parts, at a moment from which on the new one has what the view has forwarded of them.
    fn parts_at_rest(&self, old: &QualifiedName) -> Result<Vec<HashedPart>, MigrateError> {
        if self.server.write_gate().is_some() {
            return Ok(self.with_gate_closed(|| self.hashed_parts(old))?.value);
        }
        let parts = self.hashed_parts(old)?;
        self.wait_for_inserts_in_time()?;
        Ok(parts)
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
