//! How parts get from one table to the other while the names change places: into a table of teal's own,
//! and from there by `ATTACH PARTITION ALL FROM`, which no view forwards.

use std::collections::BTreeSet;

use serde::Deserialize;
use teal_catalog::active_parts;
use teal_schema::{QualifiedName, quote_string, quoted_list};

use super::{Swap, Way, names_of, swapping_of};
use crate::backfill::{columns, select_from};
use crate::fence::{CutPart, not_clean, refuse_merged};
use crate::journal::phase::Carrying;
use crate::journal::state::Migrating;
use crate::settings::{AS_THEY_ARE, table_filters};
use crate::{Event, MigrateError, Operator, failpoint, names};

impl Operator<'_> {
    /// Makes the table that rows come through on their way to `to`.
    pub(super) fn make_across(
        &self,
        migrating: &Migrating,
        to: &QualifiedName,
    ) -> Result<(), MigrateError> {
        self.make_own(&names::across(&migrating.id), to)
    }

    /// Before the exchange: copies parts of what the readers' name means to the other table.
    pub(super) fn copy_across(
        &self,
        migrating: &mut Migrating,
        swap: &Swap,
        parts: &[CutPart],
    ) -> Result<(), MigrateError> {
        if parts.is_empty() {
            return Ok(());
        }
        self.build_across(migrating, (&swap.live, swap.way == Way::Forward), &names_of(parts))?;
        // A copy that is forgotten in a crash is found by the rows.
        match migrating.migration.rows_tell() || swapping_of(migrating).is_none() {
            true => self.attach_across(migrating, &swap.other),
            false => self.attach_noted(migrating, &swap.other, parts),
        }
    }

    /// After it: copies parts of what the readers' name means now to the other table.
    pub(super) fn copy_back(
        &self,
        migrating: &Migrating,
        swap: &Swap,
        parts: &[CutPart],
    ) -> Result<(), MigrateError> {
        if parts.is_empty() {
            return Ok(());
        }
        self.make_across(migrating, &swap.other)?;
        self.build_across(migrating, (&swap.live, swap.way == Way::Back), &names_of(parts))?;
        self.attach_across(migrating, &swap.other)
    }

    /// After the exchange: carries every part that came to the old table behind the journalled block, and
    /// was not carried before, to the one that the readers are on. Tells how many.
    pub(super) fn carry_the_rest(
        &self,
        migrating: &mut Migrating,
        swap: &Swap,
    ) -> Result<usize, MigrateError> {
        let Some(swapping) = swapping_of(migrating) else {
            return Ok(0);
        };
        let (known, carried) = (swapping.known, swapping.carried.clone());
        let mut late = self.cut_parts(&swap.other)?;
        late.retain(|part| part.max_block > known && !carried.contains(&part.key()));
        if late.is_empty() {
            return Ok(0);
        }
        refuse_merged(&late, Some(known))?;
        let of_blue = swap.way == Way::Forward;
        self.build_across(migrating, (&swap.other, of_blue), &names_of(&late))?;
        // A wait that took too long has let merges go on there. One that runs still has no part that is attached
        // from now on, and ends at the block that is noted, or before.
        self.stop_merges_by_settings(&swap.live)?;
        self.stop_merges(&swap.live)?;
        self.attach_noted(migrating, &swap.live, &late)?;
        Ok(late.len())
    }

    /// Attaches the copy of these parts, of which the journal tells before and after.
    fn attach_noted(
        &self,
        migrating: &mut Migrating,
        to: &QualifiedName,
        parts: &[CutPart],
    ) -> Result<(), MigrateError> {
        let across = names::across(&migrating.id);
        let built = self.with_control(|session| active_parts(session, &across))?;
        let parts = parts.iter().map(CutPart::key).collect();
        let uuids = built.into_iter().map(|part| part.uuid).collect();
        let blocks = self.last_blocks(to, "1")?;
        self.record(migrating, Event::Carrying { parts, uuids, blocks })?;
        failpoint::reached("carrying");
        self.attach_across(migrating, to)?;
        failpoint::reached("carried-attached");
        self.record(migrating, Event::Carried)?;
        failpoint::reached("carried");
        Ok(())
    }

    /// Ends what a process before may have attached or not. Merges have been off since, but for those that
    /// somebody has started: a part that was merged or mutated has its uuid no more, and the server forgets the
    /// one before it after some minutes. If there is such a part behind the block of before, it is not told.
    ///
    /// # Errors
    /// [`MigrateError::NotClean`] then.
    pub(super) fn finish_carrying(
        &self,
        migrating: &mut Migrating,
        to: &QualifiedName,
    ) -> Result<(), MigrateError> {
        let carrying = swapping_of(migrating).and_then(|swapping| swapping.carrying.clone());
        let Some(Carrying { uuids, blocks, .. }) = carrying else {
            return Ok(());
        };
        let across = names::across(&migrating.id);
        let there = self.uuids_ever_in(to)?;
        let missing = uuids.difference(&there).collect::<BTreeSet<_>>();
        if !missing.is_empty() {
            let built = self.with_control(|session| active_parts(session, &across))?;
            let (to_attach, to_leave): (Vec<_>, Vec<_>) =
                built.into_iter().partition(|part| missing.contains(&part.uuid));
            if to_attach.len() != missing.len() || self.is_merged_since(to, &to_attach, &blocks)? {
                return Err(not_clean(
                    "a cut in which nothing is merged (parts that were carried were)",
                ));
            }
            for part in to_leave {
                let name = quote_string(&part.name);
                self.command(&format!("ALTER TABLE {} DROP PART {name}", across.sql()))?;
            }
            self.attach_across(migrating, to)?;
        }
        self.record(migrating, Event::Carried)
    }

    /// The uuids of a table's parts, also of those that a merge has replaced a short while ago.
    fn uuids_ever_in(&self, table: &QualifiedName) -> Result<BTreeSet<String>, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            uuid: String,
        }
        let rows = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT toString(uuid) AS uuid FROM system.parts WHERE {}",
                table.condition("table")
            ))
        })?;
        Ok(rows.into_iter().map(|row| row.uuid).collect())
    }

    /// Fills teal's own table with the rows of these parts, and nothing else.
    fn build_across(
        &self,
        migrating: &Migrating,
        (from, of_blue): (&QualifiedName, bool),
        parts: &[String],
    ) -> Result<(), MigrateError> {
        let across = names::across(&migrating.id);
        self.command(&format!("TRUNCATE TABLE {}", across.sql()))?;
        let columns = columns(migrating);
        let select = match of_blue {
            true => select_from(migrating, from)?,
            false => format!("SELECT {columns} FROM {}", from.sql()),
        };
        let filters = table_filters(&[(from, &format!("_part IN ({})", quoted_list(parts)))]);
        self.command(&format!(
            "INSERT INTO {} ({columns}) SELECT {columns} FROM ({select}) \
             SETTINGS {filters}, {AS_THEY_ARE}",
            across.sql()
        ))?;
        // A part that is there now was there while it was read.
        let there = names_of(&self.cut_parts(from)?).into_iter().collect::<BTreeSet<_>>();
        match parts.iter().find(|part| !there.contains(*part)) {
            Some(gone) => Err(not_clean(&format!("a cut during which no part goes ({gone} did)"))),
            None => Ok(()),
        }
    }

    fn attach_across(&self, migrating: &Migrating, to: &QualifiedName) -> Result<(), MigrateError> {
        self.attach_all(&names::across(&migrating.id), to)
    }
}
