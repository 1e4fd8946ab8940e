//! How a chunk gets from a staging table into green: as a whole, once, whatever crashes.
//!
//! 1. Merges on green, or on the history that goes in front of it ([`super::order`]), are stopped, by settings that
//!    survive a crash.
//! 2. The journal gets the uuids of the staging table's parts (`Publishing`).
//! 3. `ATTACH PARTITION ALL FROM` the staging table: the parts keep their uuids.
//! 4. The journal gets `Published`.
//! 5. Merges on green start again, and the staging table is emptied.
//!
//! A crash before 2 leaves a staging table that nobody knows of: the chunk is copied again. After
//! 4 the chunk is done. Between the two, the parts of the chunk that are in green are there under
//! their uuids, since the server does not merge them; those that are not are still in the staging
//! table, which is emptied only after 4. The next process attaches exactly those.
//!
//! A user can merge parts nevertheless (`OPTIMIZE … FINAL`, seen on 26.7) or mutate them, and what comes of
//! that does not say which parts it was made of. The journal has green's last block of before 3, and a
//! part gets its block when it is attached: a merged part with no later block has none of the chunk's.
//! If there is one with a later block, nothing is attached, and the verification finds what green lacks.
//! An INSERT into an engine that folds rows folds its own, and writes a part of level 1 (26.7, 26.9), into the
//! staging table too. A merge of one part alone makes one of a higher level: what has none higher than the
//! chunk's parts was not made of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use teal_catalog::{Part, active_parts};
use teal_plan::MERGE_STOPS;
use teal_schema::{QualifiedName, quote_string, quoted_list};

use super::Shared;
use super::chunk::Chunk;
use super::worker::Worker;
use crate::journal::phase::{Phase, Publication};
use crate::journal::state::Migrating;
use crate::prepare::merges_stopped;
use crate::{Event, MigrateError, Operator, Update, failpoint, names};

impl Worker<'_> {
    /// Publishes what the staging table holds. `false` when another worker's publication failed
    /// half-way: nothing more may be published then, so that the journal's last words stay about
    /// that one.
    pub(super) fn publish(
        &mut self,
        shared: &Shared<'_>,
        chunk: &Chunk,
    ) -> Result<bool, MigrateError> {
        let parts = active_parts(self.session.as_mut(), &self.staging)?;
        let rows = parts.iter().map(|part| part.rows).sum();
        let mut migrating = shared.migrating.lock();
        if matches!(&migrating.phase, Phase::Attached(attached) if attached.publishing.is_some()) {
            return Ok(false);
        }
        let green = migrating.published_to();
        // A SELECT with a condition may leave nothing of a chunk.
        if !parts.is_empty() {
            self.operator.refuse_altered(&migrating)?;
            self.operator.stop_merges_by_settings(&green)?;
            let blocks = self.operator.last_blocks(&green, &partitions_of(&parts))?;
            let uuids = parts.into_iter().map(|part| part.uuid).collect();
            let (chunk, worker) = (chunk.number, self.number);
            self.operator.record(
                &mut migrating,
                Event::Publishing { chunk, worker, parts: uuids, blocks },
            )?;
            failpoint::reached("publishing");
            self.operator.attach_all(&self.staging, &green)?;
            failpoint::reached("chunk-attached");
        }
        self.operator.record(&mut migrating, Event::Published { chunk: chunk.number, rows })?;
        failpoint::reached("published");
        let settings = &migrating.migration.green_merge_settings;
        self.operator.restore_merge_settings(&green, settings)?;
        drop(migrating);
        self.operator.check_lock()?;
        self.session.command(&format!("TRUNCATE TABLE {}", self.staging.sql()))?;
        failpoint::written();
        failpoint::reached("staging-emptied");
        Ok(true)
    }
}

impl Operator<'_> {
    /// Ends a publication that a process before did not journal as done.
    pub(crate) fn finish_publication(&self, migrating: &mut Migrating) -> Result<(), MigrateError> {
        let Phase::Attached(attached) = &migrating.phase else {
            return Ok(());
        };
        let Some(Publication { chunk, worker, parts, blocks }) = attached.publishing.clone() else {
            return Ok(());
        };
        let green = migrating.published_to();
        let staging = names::staging(&migrating.id, worker);
        let in_green = self.with_control(|session| active_parts(session, &green))?;
        let (ours, _): (Vec<_>, Vec<_>) =
            in_green.into_iter().partition(|part| parts.contains(&part.uuid));
        let mut rows = ours.iter().map(|part| part.rows).sum::<u64>();
        let there = ours.into_iter().map(|part| part.uuid).collect::<BTreeSet<_>>();
        let missing = parts.difference(&there).cloned().collect::<BTreeSet<_>>();
        let staged = self.with_control(|session| active_parts(session, &staging))?;
        let (to_attach, to_leave): (Vec<_>, Vec<_>) =
            staged.into_iter().partition(|part| missing.contains(&part.uuid));
        if to_attach.len() != missing.len() {
            let lost = missing.len() - to_attach.len();
            let what = format!(
                "{lost} parts of chunk {chunk}, which was being published when teal ended, are neither in {green} nor in {staging}: something else has changed these tables; the verification finds what {green} lacks"
            );
            self.observer.update(Update::Warning { what });
        }
        let rows_to_attach = to_attach.iter().map(|part| part.rows).sum::<u64>();
        if !to_attach.is_empty()
            && (self.is_mutated(&green)? || self.is_merged_since(&green, &to_attach, &blocks)?)
        {
            let what = format!(
                "somebody has merged or mutated {green}, so it cannot be told which parts of chunk {chunk} are there; the verification finds rows that are not"
            );
            self.observer.update(Update::Healed { what });
        } else if !to_attach.is_empty() {
            for part in to_leave {
                let name = quote_string(&part.name);
                self.command(&format!("ALTER TABLE {} DROP PART {name}", staging.sql()))?;
            }
            self.attach_all(&staging, &green)?;
            rows += rows_to_attach;
        }
        let what = format!(
            "chunk {chunk} was being published: {} of its {} parts were not in {green} yet",
            missing.len(),
            parts.len()
        );
        self.record(migrating, Event::Published { chunk, rows })?;
        failpoint::reached("publication-finished");
        self.observer.update(Update::Healed { what });
        Ok(())
    }

    /// A part that was mutated has its uuid no more, and would be attached once more.
    fn is_mutated(&self, table: &QualifiedName) -> Result<bool, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            mutations: u64,
        }
        let Row { mutations } = self.with_control(|session| {
            session.row(&format!(
                "SELECT count() AS mutations FROM system.mutations WHERE {}",
                table.condition("table")
            ))
        })?;
        Ok(mutations > 0)
    }

    /// Whether in the partitions of these parts some part was merged of others, or mutated, of which one is
    /// behind `blocks`, and may be one of these.
    pub(crate) fn is_merged_since(
        &self,
        table: &QualifiedName,
        parts: &[Part],
        blocks: &BTreeMap<String, i64>,
    ) -> Result<bool, MigrateError> {
        let level = parts.iter().map(|part| part.level).min().unwrap_or_default();
        let condition = format!(
            "{} AND (min_block_number < max_block_number OR level > {level} \
                 OR data_version > min_block_number)",
            partitions_of(parts)
        );
        let merged = self.last_blocks(table, &condition)?;
        Ok(merged.iter().any(|(partition, last)| {
            blocks.get(partition).is_none_or(|last_before| last > last_before)
        }))
    }

    /// By partition, the last block of the parts of which this holds.
    pub(crate) fn last_blocks(
        &self,
        table: &QualifiedName,
        condition: &str,
    ) -> Result<BTreeMap<String, i64>, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            partition_id: String,
            last: i64,
        }
        let rows = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT partition_id, max(max_block_number) AS last FROM system.parts \
                 WHERE active AND {} AND {condition} \
                 GROUP BY partition_id",
                table.condition("table")
            ))
        })?;
        Ok(rows.into_iter().map(|row| (row.partition_id, row.last)).collect())
    }

    /// No merges of the table begin from now on, also when the server is started anew.
    pub(crate) fn stop_merges_by_settings(
        &self,
        table: &QualifiedName,
    ) -> Result<(), MigrateError> {
        self.command(&format!("ALTER TABLE {} MODIFY SETTING {}", table.sql(), merges_stopped()))
    }

    /// Gives green the merge settings back that its declaration says.
    pub(crate) fn restore_merges(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let migration = &migrating.migration;
        self.restore_merge_settings(&migration.green, &migration.green_merge_settings)
    }

    /// A publication that was cut off has left it without merges.
    pub(super) fn let_history_merge(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let settings = &migrating.migration.green_merge_settings;
        self.restore_merge_settings(&names::history(&migrating.id), settings)
    }

    /// Gives the table these settings of merges, and the server's own where there are none.
    pub(crate) fn restore_merge_settings(
        &self,
        table: &QualifiedName,
        settings: &BTreeMap<String, String>,
    ) -> Result<(), MigrateError> {
        let table = table.sql();
        let names = MERGE_STOPS.map(|(name, _)| name);
        let set =
            names.iter().filter_map(|name| Some(format!("{name} = {}", settings.get(*name)?)));
        let set = set.collect::<Vec<_>>();
        if !set.is_empty() {
            self.command(&format!("ALTER TABLE {table} MODIFY SETTING {}", set.join(", ")))?;
        }
        let reset = names.into_iter().filter(|name| !settings.contains_key(*name));
        let reset = reset.collect::<Vec<_>>();
        if !reset.is_empty() {
            self.command(&format!("ALTER TABLE {table} RESET SETTING {}", reset.join(", ")))?;
        }
        Ok(())
    }
}

/// The condition on `system.parts` that a part is in one of the partitions that `parts` are in.
fn partitions_of(parts: &[Part]) -> String {
    let ids = parts.iter().map(|part| &part.partition_id).collect::<BTreeSet<_>>();
    format!("partition_id IN ({})", quoted_list(ids))
}
