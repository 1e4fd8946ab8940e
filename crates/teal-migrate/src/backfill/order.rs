//! Where green's engine goes by the order in which rows came: how blue's history gets in front of what
//! the view has forwarded meanwhile.
//!
//! Of rows that green folds into one, blue knows the order ([`CAME`]). One worker copies chunk after chunk
//! in that order, and publishes them to a table of their own, the *history*. What the view forwards lies in
//! green; each of those rows came after the history. Both are merged between publications, for INSERTs will meet the
//! parts of both. When all chunks are published:
//!
//! 1. A table of green's declaration is made, the *ordered* one, and gets the history's parts.
//! 2. The journal gets green's data and last blocks (`Ordering`).
//! 3. The ordered table gets green's parts: they get later blocks than the history's, and keep their order.
//! 4. The two tables exchange names, and green is the ordered one.
//!
//! With the write gate closed for 3 and 4, no INSERT comes between them. A crash before 4 leaves green as it
//! was, and the next process begins at 1; after 4 it sees by green's data that it is done.
//!
//! On a server, an INSERT that was bound to green before 4 ends in what is the ordered table by then, behind
//! the last blocks of 2, for nobody merges there. When such INSERTs have ended, what they wrote is copied to
//! green, in its order:
//!
//! - some of it may be there already, when it came before 3. It is told by the hashes of the parts, for nobody
//!   merges green either until then. (A row that is there twice would stand behind those that came later. To have
//!   it twice is of no other matter where the last one stays; an engine that counts rows is not migrated in this
//!   way on a server.)
//! - it may come behind a row that an INSERT wrote which began after 4. If both are of one key and the two
//!   INSERTs did not run at the same time, green shows the wrong one: then the verification, which goes by
//!   blue's order, does not pass. Where there is a moment without INSERTs, it is taken.

use std::collections::BTreeMap;
use std::time::Duration;

use teal_plan::Migration;
use teal_schema::{QualifiedName, quote_string};

use super::columns;
use crate::fence::{CutPart, without};
use crate::journal::phase::{Ordering, Phase};
use crate::journal::state::Migrating;
use crate::settings::AS_THEY_ARE;
use crate::{Event, MigrateError, Operator, failpoint, names, requests};

/// When a row of a partition came to a table: by the block of its part, and its place in there. A part's
/// name is `partition_min_max_level`, and a partition's name has no `_`; merges keep the order of the parts,
/// and of equal rows.
pub(crate) const CAME: &str = "toInt64(splitByChar('_', _part)[2]), _part_offset";
/// The end of a statement that copies a part with its rows in their order, but for further settings.
pub(crate) const IN_ORDER: &str =
    "ORDER BY _part_offset SETTINGS max_threads = 1, max_insert_threads = 1,";

/// Between two looks at the merges that are waited for.
const LOOK: Duration = Duration::from_millis(20);

/// How long a moment without INSERTs is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

impl Operator<'_> {
    /// Puts the history in front of what green has, if green goes by the order of rows.
    pub(super) fn put_in_order(&self, migrating: &mut Migrating) -> Result<(), MigrateError> {
        if !migrating.migration.keeps_order() {
            return Ok(());
        }
        let green = migrating.migration.green.clone();
        let happened = match ordering(migrating) {
            Some(ordering) => self.data_of(&green)? != ordering.green_data,
            None => false,
        };
        if !happened {
            self.let_history_merge(migrating)?;
            self.wait_for_fewer_parts(migrating)?;
            self.exchange_for_ordered(migrating).inspect_err(|error| {
                // The first error tells why.
                if error.is_silence() || self.restore_merges(migrating).is_err() {
                    self.warn_of_merges(migrating);
                }
            })?;
        }
        if self.server.write_gate().is_none() {
            // Until then nobody merges green.
            self.wait_for_inserts_in_time()
                .and_then(|()| self.carry_late(migrating))
                .inspect_err(|_| self.warn_of_merges(migrating))?;
            self.drop_table(&names::across(&migrating.id))?;
        }
        self.drop_used(&names::ordered(&migrating.id))?;
        self.drop_table(&names::history(&migrating.id))
    }

    /// Lets green be merged again, unless what INSERTs wrote to the table that was green before may still have to be
    /// carried, on a server: it is told by the hashes of parts, so that nobody may merge green until then.
    pub(crate) fn restore_merges_unless_late(
        &self,
        migrating: &Migrating,
    ) -> Result<(), MigrateError> {
        let green = &migrating.migration.green;
        let has_no_gate = self.server.write_gate().is_none();
        let is_late = match ordering(migrating).filter(|_| has_no_gate) {
            Some(ordering) => self.data_of(green)? != ordering.green_data,
            None => false,
        };
        if is_late {
            return Ok(());
        }
        if has_no_gate && migrating.migration.keeps_order() {
            // A process may have ended in the midst of `end_merges`.
            self.command(&format!("SYSTEM START MERGES {}", green.sql()))?;
        }
        self.restore_merges(migrating)
    }

    fn exchange_for_ordered(&self, migrating: &mut Migrating) -> Result<(), MigrateError> {
        let (green, ordered) = (migrating.migration.green.clone(), names::ordered(&migrating.id));
        self.make_like_green(migrating, &ordered)?;
        let history = names::history(&migrating.id);
        if self.server.write_gate().is_none() {
            // Its parts are told by their hashes later. Nobody waits for it meanwhile, so it ends its merges.
            self.stop_merges_by_settings(&history)?;
            self.wait_for_merges_to_end(&history, |_| {
                self.asked(&migrating.id, migrating.settled, requests::LOOK).map(drop)
            })?;
        }
        self.attach_all(&history, &ordered)?;
        failpoint::reached("history-in-front");
        let exchange = || {
            self.attach_all(&green, &ordered)?;
            failpoint::reached("green-behind");
            self.exchange_tables(&green, &ordered)
        };
        let green_data = self.data_of(&green)?;
        if self.server.write_gate().is_some() {
            let blocks = BTreeMap::new();
            self.record(migrating, Event::Ordering { green_data, blocks })?;
            self.with_gate_closed(exchange)?;
        } else {
            self.end_merges(&green)?;
            self.wait_for_a_quiet_moment(PATIENCE)?;
            let blocks = self.last_blocks(&green, "1")?;
            self.record(migrating, Event::Ordering { green_data, blocks })?;
            exchange()?;
        }
        failpoint::reached("ordered");
        Ok(())
    }

    /// Ends the merges of a table that run, one of which may take hours; by its settings no other begins.
    fn end_merges(&self, table: &QualifiedName) -> Result<(), MigrateError> {
        self.stop_merges_by_settings(table)?;
        self.command(&format!("SYSTEM STOP MERGES {}", table.sql()))?;
        let ended = self.wait_for_merges_to_end(table, |waited| {
            match waited >= self.options.fence_timeout {
                true => {
                    let reason = format!("the end of merges of {table}");
                    Err(MigrateError::NoCleanCut { waited, reason })
                }
                false => Ok(()),
            }
        });
        let begins = self.command(&format!("SYSTEM START MERGES {}", table.sql()));
        ended.and(begins)
    }

    /// `check` says with each look whether to go on.
    fn wait_for_merges_to_end(
        &self,
        table: &QualifiedName,
        check: impl Fn(Duration) -> Result<(), MigrateError>,
    ) -> Result<(), MigrateError> {
        let mut waiting = self.observer.wait();
        while self.merges_of(table)? > 0 {
            self.refuse_interrupted()?;
            check(waiting.elapsed())?;
            waiting.tell(|| format!("the end of merges of {table}"));
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Copies to green what INSERTs wrote to the table that was green before. It comes as parts, for what reads green
    /// has had it from those INSERTs.
    fn carry_late(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let Some(Ordering { blocks, .. }) = ordering(migrating) else {
            return Ok(());
        };
        let before = names::ordered(&migrating.id);
        let parts = self.cut_parts(&before)?;
        let history = self.cut_parts(&names::history(&migrating.id))?;
        let green = self.cut_parts(&migrating.migration.green)?;
        // Of equal parts the older ones are there.
        let parts = without(&parts, without(&green, &history));
        let is_late = |part: &&CutPart| {
            blocks.get(&part.partition_id).is_none_or(|last| part.max_block > *last)
        };
        let late = parts.into_iter().filter(is_late).collect::<Vec<_>>();
        if late.is_empty() {
            return Ok(());
        }
        let (columns, across) = (columns(migrating), names::across(&migrating.id));
        // Its parts have no uuids, so that they are equal to those that they are copies of.
        self.make_like_green(migrating, &across)?;
        for part in late {
            self.command(&format!(
                "INSERT INTO {} ({columns}) SELECT {columns} FROM {} WHERE _part = {} \
                 {IN_ORDER} {AS_THEY_ARE}",
                across.sql(),
                before.sql(),
                quote_string(&part.name)
            ))?;
        }
        self.attach_all(&across, &migrating.migration.green)?;
        failpoint::reached("late-parts-carried");
        Ok(())
    }

    /// Makes a table by green's own declaration, which nobody merges.
    fn make_like_green(
        &self,
        migrating: &Migrating,
        own: &QualifiedName,
    ) -> Result<(), MigrateError> {
        let Migration { green, create_green, .. } = &migrating.migration;
        self.drop_table(own)?;
        self.command(&create_green.replacen(&green.sql(), &own.sql(), 1))?;
        self.stop_merges_by_settings(own)
    }
}

fn ordering(migrating: &Migrating) -> Option<&Ordering> {
    match &migrating.phase {
        Phase::Attached(attached) => attached.ordering.as_ref(),
        _ => None,
    }
}
