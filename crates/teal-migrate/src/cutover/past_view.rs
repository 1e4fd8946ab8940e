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
//! through, at the end of the cutover and before the cleanup, and where the cutover is by app also when nobody writes
//! to the old table any more. A look that finds all of their rows in the new table is where the next one begins: what
//! the new table lacks later of those, users have deleted there.
//!
//! Writers go on meanwhile, and merges. So a look takes down what tells the newer parts' rows, as one SELECT sees
//! them, whichever parts they are in by then; waits for the INSERTs that ran, which have reached the new table when
//! they have ended; and looks for the rows there. How often the old table has such a row is counted as well, for an
//! equal one may have been there before: in the partitions that have newer parts, where all equal ones lie in one, else
//! in the whole table.
//!
//! Of rows that are merged with older ones since the last look, users may have deleted some of the older ones in the
//! new table. Where something like that is known, those are told and keep nothing, and what lies in parts of its own
//! still is looked for once more.
//!
//! Where merges leave nothing by which a row of the old table is known in the new one (signs, sums that may be
//! dropped, deleted versions, an old table that folds by itself), that cannot be told; and where they add up, only
//! keys can.

use std::collections::BTreeMap;

use serde::Deserialize;
use teal_plan::{Fold, Migration};
use teal_schema::{QualifiedName, names as identifiers, quote_ident, quoted_list};

use crate::backfill::select_from;
use crate::cutover::turn::cut_over;
use crate::fence::not_clean;
use crate::journal::phase::CutOver;
use crate::journal::state::Migrating;
use crate::repair::seen::{Newer, PartsSeen};
use crate::rollback::carry::CANNOT_TELL;
use crate::settings::table_filters;
use crate::verify::alone::{Alone, MOST_PARTS, PIECE_ROWS, SHOWN};
use crate::verify::{SPILL, Sought, shown, sides};
use crate::{Event, MigrateError, Operator, Phase, Update, names};

/// So many rows are looked for in pieces, each in all of the new table. Of more, the tables are compared as a whole.
const MOST_ROWS: u64 = 32_000_000;

/// By what a row of the old table is known in the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// All of it, as often as it is there.
    Row,
    /// Its key, of which the new table has one that is not older.
    Version,
    /// Its key.
    Key,
}

/// The two tables, as SELECTs with a column that tells which rows of them are the same.
struct Known {
    by: By,
    old: String,
    new: String,
    /// That column.
    told_by: &'static str,
    /// The columns by which a person knows a row.
    shown: String,
}

/// Which parts a look is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// All that have rows which came since.
    Newer,
    /// Those that have no others.
    NewerOnly,
}

impl Operator<'_> {
    /// Looks through what came to the old table since the last look, or since the last proof began: all of it must
    /// be in the new one.
    ///
    /// # Errors
    /// [`MigrateError::NewLacks`]; [`MigrateError::NotClean`] where rows are not told from equal ones.
    pub(crate) fn look_past_view(&self, migrating: &mut Migrating) -> Result<(), MigrateError> {
        let (old, new) = migrating.tables_now();
        let (old, new) = (old.clone(), new.clone());
        // Of tables that are gone others speak.
        if !self.exists(&old)? || !self.exists(&new)? {
            return Ok(());
        }
        self.refuse_hidden_rows(migrating)?;
        let seen = self.see(&old)?;
        let Some(known) = known_in_new(migrating, self.folds_by_itself(&old)?)? else {
            return self.record_compared(migrating, Some(seen));
        };
        let newer = seen.newer_than(seen_before(migrating));
        let is_large = newer.values().map(|it| it.rows).sum::<u64>() > MOST_ROWS;
        let alone = match is_large && known.by != By::Key {
            true => self.alone_as_a_whole(migrating)?,
            false => self.rows_past_view(migrating, &known, &newer, Of::Newer)?,
        };
        if alone.rows == 0 {
            return self.record_compared(migrating, Some(seen));
        }
        let change = self.loss_of_new(migrating, false)?;
        let deleted = match &change {
            Some(change) => format!("were deleted from {new} since ({change})"),
            None => format!("were deleted from {new} since"),
        };
        let told = |alone: &Alone| {
            let such = match alone.text() {
                text if text.is_empty() => String::new(),
                text => format!(", such as {text}"),
            };
            format!(
                "they came there behind the last proof of parity and not through the view (ATTACH PARTITION, say, or an INSERT that failed half-way), or {deleted}{such}; copy what is wanted yourself (INSERT INTO … SELECT)"
            )
        };
        if change.is_some() && cut_over(migrating)?.compared {
            let apart = self.rows_past_view(migrating, &known, &newer, Of::NewerOnly)?;
            if apart.rows == 0 {
                let what =
                    format!("{old} has {} rows that {new} lacks: {}", alone.rows, told(&alone));
                self.observer.update(Update::Warning { what });
                return Ok(());
            }
        }
        let (rows, reason) = (alone.rows, told(&alone).into());
        Err(MigrateError::NewLacks { old, new, rows, reason })
    }

    /// The last look, when the old table goes by its last name: who wrote to it while the looks before went on, or
    /// while its name went, has rows there that nothing forwards.
    ///
    /// # Errors
    /// [`MigrateError::NewLacks`], or as of the looks before, where single rows tell nothing or are too many.
    pub(crate) fn refuse_late(
        &self,
        migrating: &mut Migrating,
        by_now: &QualifiedName,
    ) -> Result<(), MigrateError> {
        let Phase::CutOver(state) = migrating.phase.clone() else { return Ok(()) };
        let Some(begun) = &state.cleanup else { return Ok(()) };
        let Some(seen) = begun.old.as_deref() else { return Ok(()) };
        // One that looked for the table by its former name writes to it still.
        self.wait_without_gate()?;
        let newer = self.see(by_now)?.newer_than(Some(seen));
        if newer.is_empty() {
            return Ok(());
        }
        let mut renamed = with_old_named(migrating, by_now)?;
        let looked = self.until_clean(&mut renamed, |it| self.look_at_late(it, &state, &newer));
        // With what that look has journalled.
        *migrating = Migrating { migration: migrating.migration.clone(), ..renamed };
        looked
    }

    fn look_at_late(
        &self,
        migrating: &mut Migrating,
        state: &CutOver,
        newer: &BTreeMap<String, Newer>,
    ) -> Result<(), MigrateError> {
        let (old, new) = migrating.tables_now();
        let known = known_in_new(migrating, self.folds_by_itself(old)?)?;
        let is_large = newer.values().map(|it| it.rows).sum::<u64>() > MOST_ROWS;
        let Some(known) = known.filter(|known| !is_large || known.by == By::Key) else {
            return match migrating.migration.rows_tell() {
                true => self.refuse_old_alone(migrating, state),
                // The new table gets more, which the old one does not get any more: others would be merged by now.
                false => Ok(()),
            };
        };
        let mut alone = self.rows_past_view(migrating, &known, newer, Of::Newer)?;
        // Of what was merged with older ones, users may have deleted some.
        let is_found = state.cleanup.as_ref().is_some_and(|begun| begun.late);
        if alone.rows > 0 && !is_found && self.loss_of_new(migrating, false)?.is_some() {
            let merged = alone.rows;
            alone = self.rows_past_view(migrating, &known, newer, Of::NewerOnly)?;
            if alone.rows == 0 {
                let what = format!(
                    "{old} has {merged} rows that {new} lacks, in parts that were merged while its cleanup went on: users have deleted them from {new}, unless somebody has written to {old} in that moment"
                );
                self.observer.update(Update::Warning { what });
            }
        }
        if alone.rows == 0 || self.rows_for_good(migrating, Sought::OfBlue)? == Some(0) {
            return Ok(());
        }
        let or_merged = match is_found {
            true => ", or were merged with such since and users have deleted them from it",
            false => "",
        };
        let reason = format!(
            "they came there when its cleanup had begun{or_merged}, such as {}; copy what is wanted yourself (INSERT INTO … SELECT)",
            alone.text()
        );
        let (old, new, rows) = (old.clone(), new.clone(), alone.rows);
        Err(MigrateError::NewLacks { old, new, rows, reason: reason.into() })
    }

    /// Both tables were compared, when the old one was `old`, or earlier.
    pub(crate) fn record_compared(
        &self,
        migrating: &mut Migrating,
        old: Option<PartsSeen>,
    ) -> Result<(), MigrateError> {
        let is_news = match (&migrating.phase, &old) {
            (Phase::CutOver(CutOver { compared: false, .. }), _) => true,
            (Phase::CutOver(_), Some(old)) => !old.newer_than(seen_before(migrating)).is_empty(),
            _ => false,
        };
        match is_news {
            true => self.record(migrating, Event::Compared { old }),
            false => Ok(()),
        }
    }

    fn alone_as_a_whole(&self, migrating: &Migrating) -> Result<Alone, MigrateError> {
        let found = self.seek(migrating, Sought::OfBlue)?;
        match (found.missing, found.unsure) {
            (0, 1..) => Err(not_clean(CANNOT_TELL)),
            (rows, _) => Ok(Alone { rows, ..Alone::default() }),
        }
    }

    /// The rows of the old table's newer parts that the new one lacks.
    fn rows_past_view(
        &self,
        migrating: &Migrating,
        known: &Known,
        newer: &BTreeMap<String, Newer>,
        of: Of,
    ) -> Result<Alone, MigrateError> {
        if newer.is_empty() {
            return Ok(Alone::default());
        }
        let list = names::verify(&migrating.id, names::SURPLUS);
        let counted = names::verify(&migrating.id, names::COUNTED);
        let alone = self.list_and_look(migrating, known, newer, of, (&list, &counted));
        for list in [&list, &counted] {
            self.drop_table(list)?;
        }
        alone
    }

    fn list_and_look(
        &self,
        migrating: &Migrating,
        known: &Known,
        newer: &BTreeMap<String, Newer>,
        of: Of,
        (list, counted): (&QualifiedName, &QualifiedName),
    ) -> Result<Alone, MigrateError> {
        let old = migrating.tables_now().0;
        let Known { old: rows, told_by, by, .. } = known;
        let only = only_newer(old, newer, of);
        for list in [list, counted] {
            self.drop_table(list)?;
        }
        let measure = match by {
            By::Row | By::Key => "count()",
            By::Version => "max(_teal_version)",
        };
        self.command(&format!(
            "CREATE TABLE {} ENGINE = MergeTree ORDER BY told AS \
                 SELECT {told_by} AS told, {measure} AS measure FROM ({rows}) GROUP BY {told_by}{SPILL}{only}",
            list.sql()
        ))?;
        let pieces = self.rows_of(list)?.div_ceil(PIECE_ROWS);
        let listed = |piece| {
            format!(
                "{told_by} % {pieces} = {piece} \
                     AND {told_by} IN (SELECT told FROM {} WHERE told % {pieces} = {piece})",
                list.sql()
            )
        };
        let counts = *by == By::Row && of == Of::Newer;
        if counts {
            self.command(&format!("CREATE TABLE {} AS {}", counted.sql(), list.sql()))?;
            let within = match self.lie_with_equal_ones(migrating)? {
                true => within(old, newer),
                false => String::new(),
            };
            for piece in 0..pieces {
                self.command(&format!(
                    "INSERT INTO {} SELECT {told_by} AS told, count() AS measure FROM ({rows}) \
                         WHERE {} GROUP BY {told_by}{SPILL}{within}",
                    counted.sql(),
                    listed(piece)
                ))?;
            }
        }
        // Those that are in the list have reached the new table when they have ended.
        match self.server.write_gate() {
            Some(_) => drop(self.with_gate_closed(|| Ok(()))?),
            None => self.wait_for_inserts_in_time()?,
        }
        let sought = if counts { counted } else { list };
        let mut alone = Alone::default();
        for piece in 0..pieces {
            let listed = listed(piece);
            let found =
                self.look_for(known, sought, &format!("told % {pieces} = {piece}"), &listed)?;
            alone.rows += found.rows;
            if alone.shown.len() < SHOWN && !found.told.is_empty() {
                alone.shown.extend(self.shown(known, &listed, &found.told, &only)?);
                alone.shown.truncate(SHOWN);
            }
        }
        Ok(alone)
    }

    /// Whether rows of the old table that are equal as they are copied lie in one partition of it.
    fn lie_with_equal_ones(&self, migrating: &Migrating) -> Result<bool, MigrateError> {
        let (old, migration) = (migrating.tables_now().0, &migrating.migration);
        let catalog = self.catalog_of(&[old])?;
        let Some(table) = catalog.table(old).filter(|_| migration.is_identity) else {
            return Ok(false);
        };
        let of_key = identifiers(&table.partition_key)?;
        let is_copied = |name: &String| {
            migration.columns.iter().any(|it| it.name == *name && it.from_type.is_none())
        };
        let mut columns = table.columns.iter().map(|it| &it.name).filter(|it| of_key.contains(it));
        Ok(columns.all(is_copied))
    }

    fn look_for(
        &self,
        known: &Known,
        sought: &QualifiedName,
        of_piece: &str,
        listed: &str,
    ) -> Result<Found, MigrateError> {
        let Known { new, told_by, by, .. } = known;
        let (measure, lacking) = match by {
            By::Row => {
                ("1", "greatest(toInt64(sumIf(measure, is_old)) - toInt64(countIf(NOT is_old)), 0)")
            }
            By::Key => ("1", "if(countIf(NOT is_old) = 0, toInt64(sumIf(measure, is_old)), 0)"),
            By::Version => (
                "_teal_version",
                "toInt64(countIf(is_old) > 0 AND (countIf(NOT is_old) = 0 \
                     OR maxIf(measure, is_old) > maxIf(measure, NOT is_old)))",
            ),
        };
        let found = self.with_control(|session| {
            session.row::<Found>(&format!(
                "SELECT toUInt64(sum(lacking)) AS rows, \
                     arrayMap(it -> toString(it), groupArray({SHOWN})(told)) AS told FROM (\
                         SELECT told, {lacking} AS lacking FROM (\
                             SELECT told, true AS is_old, measure FROM {} WHERE {of_piece} \
                             UNION ALL SELECT {told_by}, false, {measure} FROM ({new}) WHERE {listed}\
                         ) GROUP BY told HAVING lacking > 0){SPILL}",
                sought.sql()
            ))
        })?;
        Ok(found)
    }

    fn shown(
        &self,
        known: &Known,
        listed: &str,
        told: &[String],
        only: &str,
    ) -> Result<Vec<String>, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            row: String,
        }
        let Known { old, told_by, shown, .. } = known;
        let told = told.iter().map(|it| format!("toUInt128('{it}')")).collect::<Vec<_>>();
        let rows = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT formatRow('JSONEachRow', {shown}) AS row FROM ({old}) \
                     WHERE {listed} AND {told_by} IN ({}) LIMIT 1 BY {told_by}{SPILL}{only}",
                told.join(", ")
            ))
        })?;
        Ok(rows.into_iter().map(|it| it.row).collect())
    }
}

/// The migration, where the old table goes by another name.
fn with_old_named(migrating: &Migrating, name: &QualifiedName) -> Result<Migrating, MigrateError> {
    let mut renamed = migrating.clone();
    let migration = &mut renamed.migration;
    match migrating.tables_now().0 == &migration.blue {
        true => {
            migration.select = select_from(migrating, name)?;
            migration.blue = name.clone();
        }
        false => migration.green = name.clone(),
    }
    Ok(renamed)
}

/// Rows that are lacking, and what tells some of them.
#[derive(Deserialize)]
struct Found {
    rows: u64,
    told: Vec<String>,
}

/// The old table as it was when all that it had was in the new one.
fn seen_before(migrating: &Migrating) -> Option<&PartsSeen> {
    match &migrating.phase {
        Phase::CutOver(CutOver { old_compared: Some(seen), .. }) => Some(seen),
        _ => migrating.seen.as_ref(),
    }
}

/// How rows of the old table are known in the new one. None where merges of either may have left nothing to know
/// them by.
fn known_in_new(migrating: &Migrating, old_folds: bool) -> Result<Option<Known>, MigrateError> {
    let (old, new) = migrating.tables_now();
    let migration = &migrating.migration;
    let (by, key) = match &migration.fold {
        Some(Fold::Version { key, is_deleted: None, .. }) => (By::Version, Some(key)),
        Some(Fold::Merge { key, drops_zeros: false, .. } | Fold::Last { key, sign: None }) => {
            (By::Key, Some(key))
        }
        Some(_) => return Ok(None),
        None if old_folds || migration.green_folds => return Ok(None),
        None => (By::Row, None),
    };
    // Whose time is over is told by other columns than the key as well.
    if key.is_some() && migration.expired.is_some() {
        return Ok(None);
    }
    if by == By::Version {
        return Ok(sides(migrating, old, new)?.versions().map(|(old, new)| Known {
            by,
            old,
            new,
            told_by: "_teal_key",
            shown: shown(migrating),
        }));
    }
    let mut columns = migration.columns.clone();
    if let Some(key) = key {
        columns.retain(|column| {
            key.iter().any(|it| *it == column.name || *it == quote_ident(&column.name))
        });
        if columns.is_empty() {
            return Ok(None);
        }
    }
    let known = Migration { columns, fold: None, green_folds: false, ..migration.clone() };
    let known = Migrating { migration: known, ..migrating.clone() };
    let both = sides(&known, old, new)?;
    let (old, new, shown) = (both.blue, both.green, shown(&known));
    Ok(Some(Known { by, old, new, told_by: "_teal_hash", shown }))
}

/// A further setting of a query, so that it reads the rows of `table` only that came since. The blocks of a part follow
/// its partition in its name: so they are found whatever was merged meanwhile.
fn only_newer(table: &QualifiedName, newer: &BTreeMap<String, Newer>, of: Of) -> String {
    if newer.len() > MOST_PARTS {
        return String::new();
    }
    let block = match of {
        Of::NewerOnly => 2,
        Of::Newer => 3,
    };
    let lasts = newer.values().map(|it| it.last_before.to_string()).collect::<Vec<_>>();
    filter(
        table,
        &format!(
            "toInt64(splitByChar('_', _part)[{block}]) > transform(_partition_id, [{}], [{}], {})",
            ids(newer),
            lasts.join(", "),
            i64::MAX
        ),
    )
}

/// The same, for all rows of those partitions.
fn within(table: &QualifiedName, newer: &BTreeMap<String, Newer>) -> String {
    match newer.len() > MOST_PARTS {
        true => String::new(),
        false => filter(table, &format!("_partition_id IN ({})", ids(newer))),
    }
}

fn ids(newer: &BTreeMap<String, Newer>) -> String {
    quoted_list(newer.keys())
}

fn filter(table: &QualifiedName, condition: &str) -> String {
    format!(", {}", table_filters(&[(table, condition)]))
}
