//! What somebody has written to green itself while a fence was open: an application that was deployed too
//! early, say. Undoing the fence empties green, and would lose it.
//!
//! When the view is gone and the INSERTs that knew it have ended, green has nothing but what blue has too:
//! cloned parts, and forwarded rows. Parts that both have are not read, and of a rewrite those parts of blue
//! are read only that came since the fence was opened; where they are too many to be named, or merged
//! meanwhile each time, both tables. What green has beyond that is somebody's, unless blue has lost it meanwhile
//! ([`crate::repair::stale`]).
//!
//! Of rows that are folded only the key can be known again: their sums are other ones, and blue may have
//! folded them too.

use std::collections::BTreeMap;

use teal_plan::{CopyStrategy, Fold, Migration};
use teal_schema::{QualifiedName, quote_ident, quote_string};

use super::parts::CutPart;
use crate::failpoint;
use crate::journal::state::Migrating;
use crate::repair::removal::Extra;
use crate::settings::table_filters;
use crate::verify::alone::{Alone, MOST_PARTS, PIECE_ROWS, Pair, in_parts, names_of, newer};
use crate::verify::{folds, shown, sides};
use crate::{MigrateError, Operator, Update};

/// Of one statement. Each takes some 6 ms, as it does of a TRUNCATE (26.9).
const PARTS_AT_ONCE: usize = 200;

/// Rows that are read in a moment.
const SHORT_LOOK: u64 = PIECE_ROWS;

/// How often the parts that differ are read anew, where merges of blue have made others of them meanwhile.
const LOOKS: u32 = 5;

/// What is looked at before green is emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Every row that blue may lack.
    Full,
    /// The same, if they are not many.
    Short,
    /// Nothing: whoever has written there has given leave.
    None,
}

impl Operator<'_> {
    /// Empties green, where no more comes by the view.
    ///
    /// # Errors
    /// [`MigrateError::WrittenToGreen`] when green has rows that blue lacks; [`MigrateError::LongLook`].
    pub(super) fn empty_green(
        &self,
        migrating: &Migrating,
        look: Look,
    ) -> Result<(), MigrateError> {
        let green = &migrating.migration.green;
        // Nobody but teal knows the name that teal chose.
        if look == Look::None || migrating.migration.in_place {
            // Somebody may have dropped it.
            return self.command(&format!("TRUNCATE TABLE IF EXISTS {}", green.sql()));
        }
        if self.parts_with_rows(green)?.is_empty() {
            return Ok(());
        }
        // A part that is merged was not looked at.
        self.stop_merges(green)?;
        let emptied = self.drop_what_blue_has(migrating, look);
        let merging = self.start_merges_of_both(migrating);
        emptied.and(merging)
    }

    /// Part by part, each looked at before: a TRUNCATE would take with it what came since the look.
    fn drop_what_blue_has(&self, migrating: &Migrating, look: Look) -> Result<(), MigrateError> {
        let (blue, green) = (&migrating.migration.blue, &migrating.migration.green);
        let mut looked_up_to = None;
        loop {
            let parts = self.parts_with_rows(green)?;
            let Some(last) = parts.iter().map(|part| part.max_block).max() else {
                return Ok(());
            };
            self.refuse_to_lose_parts(migrating, &parts, look)?;
            // It came when others were dropped already, and not by the view. An equal row that blue has may be that of
            // one of those.
            let is_later =
                |part: &&CutPart| looked_up_to.is_some_and(|up_to| part.max_block > up_to);
            match parts.iter().filter(is_later).map(|part| part.rows).sum() {
                0 => (),
                rows => {
                    let (blue, green) = (blue.clone(), green.clone());
                    let shown =
                        "they came while others were dropped; equal ones may be in the old table"
                            .into();
                    return Err(MigrateError::WrittenToGreen { blue, green, rows, shown });
                }
            }
            failpoint::reached("green-looked-at");
            // What has come meanwhile is looked at beside the others, while these are there.
            if names_of(&self.parts_with_rows(green)?) != names_of(&parts) {
                self.refuse_interrupted()?;
                continue;
            }
            looked_up_to.get_or_insert(last);
            self.drop_parts(green, &parts)?;
            self.refuse_interrupted()?;
        }
    }

    /// Drops parts, by some at a time, up to one of which a merge, or somebody's `OPTIMIZE`, has made another part.
    pub(crate) fn drop_parts(
        &self,
        table: &QualifiedName,
        parts: &[CutPart],
    ) -> Result<(), MigrateError> {
        for parts in parts.chunks(PARTS_AT_ONCE) {
            let drops = parts.iter().map(|part| format!("DROP PART {}", quote_string(&part.name)));
            let drops = drops.collect::<Vec<_>>().join(", ");
            match self.command(&format!("ALTER TABLE {} {drops}", table.sql())) {
                Err(MigrateError::Client(error))
                    if error.server_name() == Some("NO_SUCH_DATA_PART") =>
                {
                    break;
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// What is dropped of a patch stays for a while, as a patch of no rows (26.9).
    fn parts_with_rows(&self, table: &QualifiedName) -> Result<Vec<CutPart>, MigrateError> {
        let mut parts = self.cut_parts(table)?;
        parts.retain(|part| part.rows > 0);
        Ok(parts)
    }

    fn refuse_to_lose_parts(
        &self,
        migrating: &Migrating,
        parts: &[CutPart],
        look: Look,
    ) -> Result<(), MigrateError> {
        if parts.is_empty() {
            return Ok(());
        }
        let Some(found) = self.rows_of_green_alone(migrating, parts, look)? else {
            return Ok(());
        };
        let rows = match folds(migrating) || migrating.migration.green_folds {
            true if self.explain(migrating, &Extra::default())?.is_ok() => 0,
            true => found.rows,
            false => self.unexplained(migrating)?,
        };
        match rows {
            0 => Ok(()),
            rows => Err(MigrateError::WrittenToGreen {
                blue: migrating.migration.blue.clone(),
                green: migrating.migration.green.clone(),
                rows,
                shown: found.text(),
            }),
        }
    }

    /// The rows of these parts of green that blue lacks.
    fn rows_of_green_alone(
        &self,
        migrating: &Migrating,
        parts: &[CutPart],
        look: Look,
    ) -> Result<Option<Alone>, MigrateError> {
        self.refuse_hidden_rows(migrating)?;
        let (blue, green) = (&migrating.migration.blue, &migrating.migration.green);
        let Some((known, is_by_key)) = known_again(migrating, self.folds_by_itself(blue)?) else {
            return Ok(None);
        };
        let (sides, columns) = (sides(&known, blue, green)?, shown(&known));
        let rows_alone = |of_green: &[&CutPart], of_blue: &[&CutPart], only: &str| {
            let (these, those) = (&sides.green, &sides.blue);
            let rows_of = |parts: &[&CutPart]| parts.iter().map(|part| part.rows).sum::<u64>();
            let rows = rows_of(of_green);
            let pair = Pair { these, those, shown: &columns, is_by_key, only };
            self.look_long(migrating, rows + rows_of(of_blue), look, || {
                self.rows_alone(&pair, rows)
            })
        };
        for _ in 0..LOOKS {
            let in_blue = self.cut_parts(blue)?;
            let (of_green, of_blue) = match migrating.migration.strategy {
                CopyStrategy::Clone => (without(parts, &in_blue), without(&in_blue, parts)),
                CopyStrategy::Rewrite => (parts.iter().collect(), newer(migrating, &in_blue)),
            };
            if of_green.is_empty() {
                return Ok(None);
            }
            if of_green.len().max(of_blue.len()) > MOST_PARTS {
                break;
            }
            let (only_green, only_blue) = (in_parts(&of_green), in_parts(&of_blue));
            let only = format!(", {}", table_filters(&[(green, &only_green), (blue, &only_blue)]));
            let alone = rows_alone(&of_green, &of_blue, &only)?;
            let (now, of_blue) = (self.cut_parts(blue)?, names_of(of_blue));
            // A part of blue that was merged meanwhile had no rows, and those of green seemed to be alone.
            if alone.rows == 0 || of_blue.is_subset(&names_of(&now)) {
                return Ok((alone.rows > 0).then_some(alone));
            }
        }
        let in_blue = self.cut_parts(blue)?;
        let alone = rows_alone(&Vec::from_iter(parts), &Vec::from_iter(&in_blue), "")?;
        Ok((alone.rows > 0).then_some(alone))
    }

    /// Reads so many rows, and tells that it does where it takes long.
    fn look_long<T>(
        &self,
        migrating: &Migrating,
        rows: u64,
        look: Look,
        read: impl FnOnce() -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError> {
        if rows <= SHORT_LOOK {
            return read();
        }
        let Migration { blue, green, .. } = &migrating.migration;
        if look == Look::Short {
            return Err(MigrateError::LongLook { blue: blue.clone(), green: green.clone(), rows });
        }
        let reason = format!(
            "a look at {rows} rows of {green} and {blue}, whether {green} has any that {blue} lacks, before it is emptied (`teal abort --force` does without)"
        );
        self.observer.update(Update::Waiting { reason });
        let read = read()?;
        self.observer.update(Update::WentOn);
        Ok(read)
    }
}

/// The migration with those columns only by which a row of green is known in blue, and whether that is the
/// key alone. None where merges of blue leave nothing to know it by.
fn known_again(migrating: &Migrating, blue_folds: bool) -> Option<(Migrating, bool)> {
    let migration = &migrating.migration;
    let key = match &migration.fold {
        Some(Fold::Merge { key, .. }) => Some(key),
        Some(Fold::Version { key, .. } | Fold::Last { key, .. }) if blue_folds => Some(key),
        _ if blue_folds => return None,
        _ => None,
    };
    let mut columns = migration.columns.clone();
    let is_in =
        |key: &Vec<String>, name: &str| key.iter().any(|it| it == name || *it == quote_ident(name));
    columns.retain(|column| key.is_none_or(|key| is_in(key, &column.name)));
    if columns.is_empty() {
        return None;
    }
    let (fold, expired) = (None, None);
    let known = Migration { columns, fold, green_folds: false, expired, ..migration.clone() };
    Some((Migrating { migration: known, ..migrating.clone() }, key.is_some()))
}

/// The parts that are not among `others`, by the hash of their files: equal hashes are equal rows. Of equal ones
/// the first are among them.
pub(crate) fn without<'a>(
    parts: impl IntoIterator<Item = &'a CutPart>,
    others: impl IntoIterator<Item = &'a CutPart>,
) -> Vec<&'a CutPart> {
    let mut common = BTreeMap::<_, u32>::new();
    for part in others {
        *common.entry((&part.partition_id, &part.hash)).or_default() += 1;
    }
    let mut alone = Vec::new();
    for part in parts {
        match common.get_mut(&(&part.partition_id, &part.hash)) {
            Some(left) if *left > 0 => *left -= 1,
            _ => alone.push(part),
        }
    }
    alone
}
