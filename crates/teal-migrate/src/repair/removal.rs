//! How rows that green has too many go, while INSERTs go on through the view.
//!
//! 1. Clones of the two tables tell which rows those are, by their hashes; of a partition of which blue
//!    has no row at all, all of them.
//! 2. The journal gets `Stale`.
//! 3. Of such whole partitions the parts are dropped that were there before it was asked who has written to
//!    green. Of the others, *every* row with one of the hashes is
//!    deleted, also where blue has some of the same: which of several equal rows go cannot be said.
//! 4. The INSERTs that run then are waited for.
//! 5. The journal gets `Repaired`, and the next comparison tells what green lacks now, which is copied.
//!
//! Removing too much is therefore no loss: blue has the row, and 5 finds it. What must not happen is that
//! 5 does not find it. An INSERT that is under way may have written a row to green, where 3 deletes it,
//! and not yet to blue, where 5 would look: that is what 4 is for. An INSERT that comes to green after 3
//! keeps its rows, as a mutation changes the parts that were there when it was made, and no other. A
//! row that is inserted meanwhile and equals one that is removed is either deleted and copied again, or
//! kept and counted by 5.
//!
//! Where INSERTs can be held, 5 holds them, and needs no 4.
//!
//! A crash after 2 leaves a mutation that goes on by itself. Who comes next waits for its end, and for
//! the INSERTs of 4, before anything is compared.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;
use teal_schema::{QualifiedName, escape_ident, quote_string, quoted_list};

use crate::fence::CutPart;
use crate::journal::state::Migrating;
use crate::settings::table_filters;
use crate::throttle::pressure::merges_are_full;
use crate::verify::{Sides, hashes_of_surplus, partition_expression, row_hash};
use crate::{Event, MigrateError, Operator, Parity, failpoint, names};

/// Between two looks at a mutation.
const LOOK: Duration = Duration::from_millis(20);
/// A mutation of more partitions than that reads all of green once, rather than each of them.
const PARTITIONS: usize = 32;

const STOPPED: &str = "the server does not begin the mutation, though it has threads for it: merges of the table may be stopped (`SYSTEM START MERGES` lets them go on), or there is no room for its parts";

/// What green has too many. The hashes of the rows within partitions are in a table of teal's own.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    pub(crate) rows: u64,
    /// Partitions of green, by id, of which blue has no row.
    whole: Vec<String>,
    /// Other partitions that have rows too many.
    partly: Vec<String>,
    /// The last block of each partition of green, before it was asked who has written there.
    pub(crate) up_to: BTreeMap<String, i64>,
}

impl Extra {
    /// Partitions of green, by id.
    pub(crate) fn partitions(&self) -> Vec<String> {
        let mut all = [self.whole.as_slice(), &self.partly].concat();
        all.sort();
        all
    }
}

impl Operator<'_> {
    /// Finds what green's clone has too many, and fills the table of hashes.
    pub(crate) fn collect_extra(
        &self,
        migrating: &Migrating,
        sides: &Sides,
        parity: &Parity,
    ) -> Result<Extra, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            #[serde(rename = "_teal_id")]
            partition: String,
        }
        let clone = names::verify(&migrating.id, "green");
        let partitions = |condition: &str| {
            let query = format!(
                "SELECT DISTINCT _partition_id AS _teal_id FROM {} WHERE {condition} ORDER BY _teal_id",
                clone.sql()
            );
            let rows = self.with_control(|session| session.rows::<Row>(&query))?;
            Ok::<_, MigrateError>(rows.into_iter().map(|row| row.partition).collect::<Vec<_>>())
        };
        let partition = partition_expression(migrating);
        // Rows whose time is over are on neither side, and no reason to drop a partition.
        let lasting = match &migrating.migration.expired {
            Some(over) => format!(" AND NOT ifNull({over}, 0)"),
            None => String::new(),
        };
        let whole = partitions(&format!(
            "toString({partition}) NOT IN (SELECT DISTINCT toString({partition}) FROM ({})){lasting}",
            sides.last_of_blue()
        ))?;

        let hashes = names::extra(&migrating.id);
        self.drop_table(&hashes)?;
        self.command(&format!(
            "CREATE TABLE {} (hash UInt128) ENGINE = MergeTree ORDER BY hash",
            hashes.sql()
        ))?;
        let filter = match whole.is_empty() {
            true => String::new(),
            false => {
                let others = format!("_partition_id NOT IN ({})", quoted_list(&whole));
                format!(" SETTINGS {}", table_filters(&[(&clone, &others)]))
            }
        };
        let surplus = sides.of_green_alone();
        for within in self.pieces(&surplus, &parity.buckets())? {
            self.command(&format!(
                "INSERT INTO {} SELECT _teal_hash FROM ({}){filter}",
                hashes.sql(),
                hashes_of_surplus(&sides.green, sides.last_of_blue(), &within)
            ))?;
        }
        let partly = partitions(&condition(migrating, &hashes))?;
        let partly = partly.into_iter().filter(|id| !whole.contains(id)).collect();
        Ok(Extra { rows: parity.extra, whole, partly, up_to: BTreeMap::new() })
    }

    /// Removes what was collected. May be repeated.
    pub(crate) fn remove(&self, migrating: &Migrating, extra: &Extra) -> Result<(), MigrateError> {
        let green = migrating.tables_now().1.sql();
        self.drop_whole_partitions(migrating, extra)?;
        let condition = condition(migrating, &names::extra(&migrating.id));
        let of_all = [String::new()];
        let of_each =
            extra.partly.iter().map(|id| format!("IN PARTITION ID {} ", quote_string(id)));
        let of_each = of_each.collect::<Vec<_>>();
        let mutations = if of_each.len() > PARTITIONS { &of_all[..] } else { &of_each };
        for of in mutations {
            self.command(&format!(
                "ALTER TABLE {green} DELETE {of}WHERE {condition} \
                 SETTINGS mutations_sync = 0, allow_nondeterministic_mutations = 1"
            ))?;
            failpoint::reached("stale-rows-mutation");
        }
        Ok(())
    }

    /// Part by part: with a partition would go what has come meanwhile. A part that has some of that too, since it was
    /// merged, stays for the next comparison.
    fn drop_whole_partitions(
        &self,
        migrating: &Migrating,
        extra: &Extra,
    ) -> Result<(), MigrateError> {
        let green = migrating.tables_now().1;
        let is_extra = |part: &CutPart| {
            part.rows > 0
                && extra.whole.contains(&part.partition_id)
                && extra.up_to.get(&part.partition_id).is_some_and(|last| part.max_block <= *last)
        };
        while !extra.whole.is_empty() {
            let mut parts = self.cut_parts(green)?;
            parts.retain(is_extra);
            if parts.is_empty() {
                break;
            }
            self.drop_parts(green, &parts)?;
            failpoint::reached("stale-partition-dropped");
            self.refuse_interrupted()?;
        }
        Ok(())
    }

    /// Ends a removal that was begun: after this, what it removed too much can be seen.
    pub(crate) fn settle_removal(&self, migrating: &mut Migrating) -> Result<(), MigrateError> {
        if !migrating.removing {
            return Ok(());
        }
        self.wait_for_removal(migrating)?;
        failpoint::reached("stale-rows-removed");
        if self.server.write_gate().is_none() {
            self.wait_for_inserts_in_time()?;
        }
        self.drop_table(&names::extra(&migrating.id))?;
        self.record(migrating, Event::Repaired { rows: 0 })?;
        failpoint::reached("removal-settled");
        Ok(())
    }

    /// Waits until teal's own mutations of green have ended.
    fn wait_for_removal(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            fail_reason: String,
            parts_to_do: i64,
        }
        let green = migrating.tables_now().1;
        let ours = format!(
            "{} AND position(command, {}) > 0",
            green.condition("table"),
            quote_string(&escape_ident(&names::extra(&migrating.id).name))
        );
        let (mut fails_since, mut still_since, mut waiting) = (None, None, self.observer.wait());
        loop {
            let left = self.with_control(|session| {
                session.rows::<Row>(&format!(
                    "SELECT latest_fail_reason AS fail_reason, parts_to_do FROM system.mutations \
                     WHERE NOT is_done AND {ours}"
                ))
            })?;
            if left.is_empty() {
                return Ok(());
            }
            let parts = left.iter().map(|mutation| mutation.parts_to_do).sum::<i64>();
            match left.into_iter().find(|mutation| !mutation.fail_reason.is_empty()) {
                None => fails_since = None,
                Some(Row { fail_reason, .. }) => {
                    // The server tries it again and again; it may only lack memory for a while.
                    let since = fails_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > self.options.fence_timeout {
                        return self.give_removal_up(green, &ours, fail_reason);
                    }
                }
            }
            // Where others are at work, its turn may come.
            let is_at_work = self.is_merging(green)?;
            match still_since {
                Some((before, since)) if before == parts && !is_at_work => {
                    let since: Instant = since;
                    if since.elapsed() > self.options.fence_timeout {
                        return self.give_removal_up(green, &ours, STOPPED.to_owned());
                    }
                }
                _ => still_since = Some((parts, Instant::now())),
            }
            waiting.tell(|| {
                format!("the removal of rows from {green}: a mutation with {parts} parts to do")
            });
            // The next command goes on here.
            self.refuse_interrupted()?;
            self.check_lock()?;
            std::thread::sleep(LOOK);
        }
    }

    /// Whether something of the table is merged or mutated, or every thread that does so is at work elsewhere.
    fn is_merging(&self, table: &QualifiedName) -> Result<bool, MigrateError> {
        Ok(self.merges_of(table)? > 0 || self.with_control(merges_are_full)?)
    }

    fn give_removal_up(
        &self,
        green: &QualifiedName,
        ours: &str,
        reason: String,
    ) -> Result<(), MigrateError> {
        self.command(&format!("KILL MUTATION WHERE {ours} SYNC"))?;
        self.wait_for_mutating(green)?;
        Err(MigrateError::RemovalFailed { green: green.clone(), reason })
    }

    /// Waits until no part of the table is being mutated: one that was killed may be about to end.
    fn wait_for_mutating(&self, table: &QualifiedName) -> Result<(), MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            parts: u64,
        }
        let mut waiting = self.observer.wait();
        loop {
            let Row { parts } = self.with_control(|session| {
                session.row(&format!(
                    "SELECT count() AS parts FROM system.merges \
                     WHERE is_mutation AND {}",
                    table.condition("table")
                ))
            })?;
            if parts == 0 {
                return Ok(());
            }
            waiting.tell(|| format!("the end of a mutation of {table} that was cancelled"));
            self.refuse_interrupted()?;
            self.check_lock()?;
            std::thread::sleep(LOOK);
        }
    }
}

/// Whether a row of green has one of the hashes.
fn condition(migrating: &Migrating, hashes: &QualifiedName) -> String {
    format!("{} IN (SELECT hash FROM {})", row_hash(&migrating.migration.columns), hashes.sql())
}
