//! The fence of a server, where INSERTs cannot be held: the parts of those that ran across the cut are
//! told apart by the log of parts.
//!
//! 1. Merges on blue and green are stopped, and the running ones of blue have ended: until 6, no part of blue turns
//!    into another.
//! 2. Blue is cloned. *Old* are the parts of blue that are in the clone, matched by partition and hash
//!    of their files; equal hashes are equal rows, so their number is what counts.
//! 3. The view is created, and every INSERT that runs then is waited for. One that started before the
//!    view is not forwarded, and has ended now; from here on, every new part is *captured*.
//! 4. The *window* are the parts of blue that are not old. When those INSERTs have ended that run now,
//!    each of which may still be writing to green, `part_log` is read: a part of the window is captured
//!    if the query that wrote it wrote a part of green too. (One whose rows the SELECT leaves out wrote
//!    none, and copying it copies none.)
//! 5. What is not captured is copied, part by part, to where the clone is.
//! 6. Merges start again.
//!
//! What cannot be told (a part without a query, a merged part, a part that went, a server that was started
//! anew and may have lost entries of its log) makes the cut not clean: it is undone and tried again. Without `part_log`, a cut is clean only if the window is empty.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Deserialize;
use teal_catalog::{Features, amount};
use teal_client::ClientError;
use teal_plan::{CopyStrategy, FenceKind};
use teal_schema::{QualifiedName, quote_ident, quoted_list};

use super::Look;
use super::parts::{CutPart, refuse_merged};
use super::running::long_inserts;
use crate::backfill::IN_ORDER;
use crate::journal::phase::Phase;
use crate::journal::state::Migrating;
use crate::settings::AS_THEY_ARE;
use crate::throttle::pressure::{Bounds, Crowd, Total};
use crate::{Event, MigrateError, Operator, Update, failpoint, logs, names};

/// A cut that has not come to its end by then is undone, so that merges on blue are on again. The clone's own time
/// does not count. In seconds.
const LONGEST_HOLD: u64 = 20;

/// Between two cuts, so that merges come to work.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// What identifies the rows of a part.
type PartKey = (String, String);

/// One attempt, in which merges of two tables are off.
pub(crate) struct Hold {
    pub(crate) since: Instant,
    tables: [(QualifiedName, Bounds); 2],
    pub(crate) server_start: i64,
}

impl Operator<'_> {
    pub(super) fn cut_by_log(
        &self,
        migrating: &mut Migrating,
        mut before: Vec<Event>,
    ) -> Result<(Event, String), MigrateError> {
        // The log's table is made when it is flushed for the first time.
        self.command("SYSTEM FLUSH LOGS")?;
        let features = self.with_control(|session| Features::read(session))?;
        let (mut attempt, mut waits) = (0, None);
        loop {
            attempt += 1;
            if attempt > 1 {
                // What has changed blue since the first one is in this one's clone, and explains nothing later.
                before = vec![Event::Seen { blue: self.see_without_mutations(migrating)? }];
            }
            let cut = self.try_cut(migrating, std::mem::take(&mut before), |migrating| {
                self.cut_once(migrating, features.part_log.is_there)
            });
            match cut {
                Ok(held) => {
                    let clone = clone_of(migrating);
                    let cut = self.with_control(|session| amount(session, &clone))?;
                    let fence = FenceKind::of(false, features.part_log.is_there);
                    return Ok(self.attached(migrating, cut, attempt, fence, &held));
                }
                Err(MigrateError::NotClean { reason }) => {
                    if let Phase::Prepared(state) = &migrating.phase
                        && state.fence_open
                    {
                        self.undo_fence(migrating, Look::Full)?;
                    }
                    self.refuse_interrupted()?;
                    let waited = waits.get_or_insert_with(Instant::now).elapsed();
                    if waited > self.options.fence_timeout {
                        return Err(MigrateError::NoCleanCut { waited, reason });
                    }
                    self.observer.update(Update::Waiting { reason });
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn cut_once(&self, migrating: &Migrating, has_log: bool) -> Result<String, MigrateError> {
        let migration = &migrating.migration;
        let (blue, green) = (&migration.blue, &migration.green);
        let clone = clone_of(migrating);
        if migration.strategy == CopyStrategy::Rewrite {
            self.make_own(&clone, blue)?;
            self.make_history(migrating)?;
        }
        let hold = self.hold([blue, green])?;
        let since = self.now()?;
        self.cut_without_mutations(blue)?;
        for table in [blue, green] {
            self.stop_merges(table)?;
        }
        failpoint::reached("merges-stopped");
        self.wait_for_merges(blue, &hold)?;
        let (off_for, cloning) = (hold.since, Instant::now());
        self.attach_all(blue, &clone)?;
        // A clone of very many parts takes its time, which no other try makes shorter. All else has one bound.
        let hold = Hold { since: hold.since + cloning.elapsed(), ..hold };
        failpoint::reached("blue-cloned");
        let in_good_time = || "a cut in good time".to_owned();
        self.check(&hold, in_good_time)?;
        let cloned = self.base_parts(&clone)?;
        self.command(&migration.create_view)?;
        failpoint::reached("view-created");
        self.wait_for_inserts(|running| self.check(&hold, || long_inserts(running)))?;

        let window = window(&cloned, self.base_parts(blue)?)?;
        self.wait_for_inserts(|running| self.check(&hold, || long_inserts(running)))?;
        let uncaptured = match (window.is_empty(), has_log) {
            (true, _) => Vec::new(),
            (false, false) => {
                return Err(not_clean("a moment without INSERTs, since there is no part_log"));
            }
            (false, true) => {
                let names = window.iter().map(|part| part.name.clone()).collect::<Vec<_>>();
                self.uncaptured(
                    &hold,
                    &names,
                    since,
                    &blue.condition("table"),
                    &green.condition("table"),
                )?
            }
        };
        if !uncaptured.is_empty() && migration.green_folds && migration.fold.is_none() {
            // Copied, they would come behind rows that were written after them.
            return Err(not_clean(
                "a moment without INSERTs, since green's engine folds rows in their order",
            ));
        }
        // In one statement, several parts may come in any order.
        let at_a_time = if migration.keeps_order() { 1 } else { uncaptured.len().max(1) };
        for parts in uncaptured.chunks(at_a_time) {
            self.check(&hold, in_good_time)?;
            self.copy_parts(migrating, &clone, parts)?;
        }
        failpoint::reached("window-copied");
        self.start_merges_of_both(migrating)?;
        failpoint::reached("merges-started");
        Ok(format!(
            "{} parts came meanwhile, {} of them not through the view; merges off for {:.2} s",
            window.len(),
            uncaptured.len(),
            off_for.elapsed().as_secs_f64()
        ))
    }

    /// Nothing comes to green by the view afterwards.
    pub(super) fn drop_view_and_wait(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let migration = &migrating.migration;
        // The cut may have failed because the connection was lost: what was sent last, say the view's
        // CREATE, would come behind what takes it back.
        self.end_own_statements()?;
        // Not with SYNC: until those who know the view have ended, no merge would begin.
        self.drop_view(&migration.view)?;
        failpoint::reached("undo-view-dropped");
        self.start_merges_of_both(migrating)?;
        // Those that know the view may still write to green.
        self.wait_for_inserts_in_time()
    }

    pub(crate) fn start_merges_of_both(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        self.start_merges(&migrating.migration.blue)?;
        self.start_merges(&migrating.migration.green)
    }

    /// Those parts of the window that the view did not forward. `of_blue` and `of_green` are conditions
    /// on `part_log` that tell the two tables.
    pub(crate) fn uncaptured(
        &self,
        hold: &Hold,
        window: &[String],
        since: u32,
        of_blue: &str,
        of_green: &str,
    ) -> Result<Vec<String>, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            part_name: String,
            query_id: String,
            forwarded: u8,
        }
        self.command("SYSTEM FLUSH LOGS")?;
        let of =
            |table: &str| format!("{} AND event_type = 'NewPart'", logs::parts_since(table, since));
        let rows = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT part_name, query_id, query_id IN (\
                     SELECT query_id FROM system.part_log WHERE {}) AS forwarded \
                 FROM system.part_log WHERE {}",
                of(of_green),
                of(of_blue)
            ))
        })?;
        self.refuse_started_anew(hold.server_start)?;
        let mut logged = BTreeMap::new();
        for row in rows {
            logged.insert(row.part_name, (row.query_id, row.forwarded == 1));
        }
        let mut uncaptured = Vec::new();
        for part in window {
            match logged.get(part) {
                Some((query_id, _)) if query_id.is_empty() || query_id.contains(OF_BACKGROUND) => {
                    return Err(not_clean(&format!(
                        "a cut without rows of the background (part {part} was written by no query)"
                    )));
                }
                Some((_, true)) => (),
                Some((_, false)) => uncaptured.push(part.clone()),
                None => {
                    let hint = match self.has_logged(since)? {
                        true => "",
                        false => NO_ENTRIES,
                    };
                    let what = format!("the entry of part {part} in part_log{hint}");
                    return Err(not_clean(&what));
                }
            }
        }
        Ok(uncaptured)
    }

    /// Whether any part of any table was logged since.
    fn has_logged(&self, since: u32) -> Result<bool, MigrateError> {
        let entries = self.count_rows(&format!(
            "SELECT 1 FROM system.part_log WHERE {} LIMIT 1",
            logs::since(since)
        ))?;
        Ok(entries > 0)
    }

    /// Copies whole parts, with the values of `MATERIALIZED` columns that they have.
    fn copy_parts(
        &self,
        migrating: &Migrating,
        clone: &QualifiedName,
        parts: &[String],
    ) -> Result<(), MigrateError> {
        if parts.is_empty() {
            return Ok(());
        }
        let (blue, id) = (&migrating.migration.blue, &migrating.id);
        // What reads green does not get the history.
        let built = match migrating.migration.strategy {
            CopyStrategy::Clone => Some(names::across(id)),
            CopyStrategy::Rewrite => None,
        };
        if let Some(built) = &built {
            self.make_own(built, clone)?;
        }
        let in_order = match migrating.migration.keeps_order() {
            true => IN_ORDER,
            false => "SETTINGS",
        };
        let catalog = self.catalog_of(&[blue])?;
        let columns = catalog.table(blue).map(|table| table.columns.as_slice()).unwrap_or_default();
        let stored = columns
            .iter()
            .filter(|column| !matches!(column.default_kind.as_str(), "ALIAS" | "EPHEMERAL"))
            .map(|column| quote_ident(&column.name))
            .collect::<Vec<_>>()
            .join(", ");
        let names = quoted_list(parts);
        self.command(&format!(
            "INSERT INTO {} ({stored}) SELECT {stored} FROM {} WHERE _part IN ({names}) \
             {in_order} insert_allow_materialized_columns = 1, {AS_THEY_ARE}",
            built.as_ref().unwrap_or(clone).sql(),
            blue.sql()
        ))?;
        if let Some(built) = &built {
            self.attach_all(built, clone)?;
            self.drop_table(built)?;
        }
        // A part that is there now was there while it was read.
        let there = self.cut_parts(blue)?.into_iter().map(|part| part.name);
        let there = there.collect::<BTreeSet<_>>();
        match parts.iter().find(|part| !there.contains(*part)) {
            Some(gone) => Err(not_clean(&format!("a cut during which no part goes ({gone} did)"))),
            None => Ok(()),
        }
    }

    /// Begins to hold merges of two tables back, from now on.
    pub(crate) fn hold(&self, [one, other]: [&QualifiedName; 2]) -> Result<Hold, MigrateError> {
        let bounded = |table: &QualifiedName| {
            let bounds = self.with_control(|session| Bounds::read(session, table))?;
            Ok::<_, MigrateError>((table.clone(), bounds))
        };
        let tables = [bounded(one)?, bounded(other)?];
        let server_start = self.server_start()?;
        Ok(Hold { since: Instant::now(), tables, server_start })
    }

    /// Whether the cut may go on.
    pub(crate) fn check(
        &self,
        hold: &Hold,
        waits_for: impl Fn() -> String,
    ) -> Result<(), MigrateError> {
        let longest = Duration::from_secs(failpoint::number("longest-hold", LONGEST_HOLD));
        if hold.since.elapsed() > longest || self.options.interrupt.is_asked() {
            return Err(not_clean(&waits_for()));
        }
        for (table, bounds) in &hold.tables {
            let (crowd, total) = self.with_control(|session| {
                let crowd = Crowd::read(session, table, None, *bounds)?;
                Ok::<_, ClientError>((crowd, Total::read(session, table, None, *bounds)?))
            })?;
            let parts = match (crowd, total) {
                (Some(crowd), _) if crowd.is_dense() => {
                    format!("{} in partition {}", crowd.parts, crowd.partition)
                }
                (_, Some(total)) if total.parts > total.wait_at() => {
                    format!("{} in {} partitions", total.parts, total.partitions)
                }
                _ => continue,
            };
            let reason = format!("fewer parts of {table} ({parts}); and for {}", waits_for());
            return Err(not_clean(&reason));
        }
        Ok(())
    }

    /// Without patches: what an UPDATE has changed meanwhile is found like any mutation, and one that was applied before
    /// lies beside the parts for some minutes (26.9).
    fn base_parts(&self, table: &QualifiedName) -> Result<Vec<CutPart>, MigrateError> {
        let mut parts = self.cut_parts(table)?;
        parts.retain(|part| !part.partition_id.starts_with("patch-"));
        Ok(parts)
    }

    /// Waits for the end of the merges that run, once no more begin.
    pub(crate) fn wait_for_merges(
        &self,
        table: &QualifiedName,
        hold: &Hold,
    ) -> Result<(), MigrateError> {
        while self.merges_of(table)? > 0 {
            self.check(hold, || format!("the end of merges of {table}"))?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(crate) fn merges_of(&self, table: &QualifiedName) -> Result<u64, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            merges: u64,
        }
        let Row { merges } = self.with_control(|session| {
            session.row(&format!(
                "SELECT count() AS merges FROM system.merges WHERE {}",
                table.condition("table")
            ))
        })?;
        Ok(merges)
    }

    /// The server's time, in seconds since 1970.
    pub(crate) fn now(&self) -> Result<u32, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            now: u32,
        }
        let Row { now } = self.with_control(|session| {
            session.row("SELECT toUInt32(toUnixTimestamp(now())) AS now")
        })?;
        Ok(now)
    }
}

/// Where the old parts are cloned to.
fn clone_of(migrating: &Migrating) -> QualifiedName {
    match migrating.migration.strategy {
        CopyStrategy::Clone => migrating.migration.green.clone(),
        CopyStrategy::Rewrite => names::snapshot(&migrating.id),
    }
}

/// The parts of blue that are not in the clone. Of equal parts, the ones that come first are those that
/// the clone has: a forwarded part that is taken for an old one would leave the old one to be copied once
/// more.
fn window(cloned: &[CutPart], blue: Vec<CutPart>) -> Result<Vec<CutPart>, MigrateError> {
    let key = |part: &CutPart| -> PartKey { (part.partition_id.clone(), part.hash.clone()) };
    let mut old = BTreeMap::<PartKey, u32>::new();
    for part in cloned {
        *old.entry(key(part)).or_default() += 1;
    }
    let mut window = Vec::new();
    for part in blue {
        match old.get_mut(&key(&part)) {
            Some(left) if *left > 0 => *left -= 1,
            _ => window.push(part),
        }
    }
    refuse_merged(&window, None)?;
    match old.values().any(|left| *left > 0) {
        true => Err(not_clean("a cut during which no part of blue goes")),
        false => Ok(window),
    }
}

/// In the query id of a task of the background, which is one for all that it writes at a time (newer releases; older ones
/// have none).
const OF_BACKGROUND: &str = "SchPool::";

/// The table stays where the log is switched off, and no time brings an entry then.
const NO_ENTRIES: &str =
    ", which has none since: the server's configuration may have switched it off (`part_log`)";

pub(crate) fn not_clean(waits_for: &str) -> MigrateError {
    MigrateError::NotClean { reason: waits_for.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(partition: &str, name: &str, hash: &str, level: u32) -> CutPart {
        let blocks =
            name.split('_').skip(1).map(|block| block.parse().unwrap()).collect::<Vec<_>>();
        CutPart {
            partition_id: partition.to_owned(),
            name: name.to_owned(),
            uuid: String::new(),
            hash: hash.to_owned(),
            rows: 1,
            level,
            min_block: blocks[0],
            max_block: blocks[1],
        }
    }

    fn names(window: Result<Vec<CutPart>, MigrateError>) -> Vec<String> {
        window.unwrap().into_iter().map(|part| part.name).collect()
    }

    #[test]
    fn equal_parts_are_counted() {
        let cloned = [part("1", "1_1_1_0", "x", 0)];
        let blue = [part("1", "1_1_1_0", "x", 0), part("1", "1_2_2_0", "x", 0)];
        assert_eq!(names(window(&cloned, blue.to_vec())), ["1_2_2_0"]);
        // The same rows in another partition are other rows.
        let blue = [part("1", "1_1_1_0", "x", 0), part("2", "2_2_2_0", "x", 0)];
        assert_eq!(names(window(&cloned, blue.to_vec())), ["2_2_2_0"]);
        assert_eq!(names(window(&cloned, cloned.to_vec())), Vec::<String>::new());
    }

    #[test]
    fn a_merged_part_and_a_part_that_went_make_the_cut_not_clean() {
        let cloned = [part("1", "1_1_1_0", "x", 0), part("1", "1_2_2_0", "y", 0)];
        assert!(window(&cloned, vec![part("1", "1_1_2_1", "z", 1)]).is_err());
        assert!(window(&cloned, vec![part("1", "1_1_1_0", "x", 0)]).is_err());
        assert!(window(&cloned, [&cloned[..], &[part("1", "1_3_3_2", "z", 2)]].concat()).is_err());
        // An INSERT into an engine that folds rows.
        let inserted = [&cloned[..], &[part("1", "1_3_3_1", "z", 1)]].concat();
        assert_eq!(names(window(&cloned, inserted)), ["1_3_3_1"]);
        // A part that was merged before the cut is old.
        let merged = [part("1", "1_1_9_2", "m", 2)];
        assert_eq!(names(window(&merged, merged.to_vec())), Vec::<String>::new());
    }
}
