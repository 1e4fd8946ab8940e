//! How an exchange on a server comes to its end: in the process that began it, or in the next one.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{LastLook, Swap, Way, last_block, seen_after, swapping_of};
use crate::fence::{PAUSE, long_inserts};
use crate::journal::phase::CutOver;
use crate::journal::state::Migrating;
use crate::{Event, MigrateError, Operator, Phase, Update, failpoint, names};

impl Operator<'_> {
    /// Exchanges the names, and journals that it was done. Where that fails, what was begun is brought to
    /// its end or taken back at once. `last_look` is the last that is done before the names change places.
    pub(crate) fn swap_or_settle(
        &self,
        migrating: &mut Migrating,
        way: Way,
        seen_up_to: Option<i64>,
        last_look: LastLook<'_>,
    ) -> Result<String, MigrateError> {
        match self.swap(migrating, way, seen_up_to, last_look) {
            Ok(told) => {
                // All is carried, and behind the entry nobody would look for it.
                self.drop_table(&names::across(&migrating.id))?;
                match way {
                    Way::Forward => self.record_exchange(migrating)?,
                    Way::Back => self.record_rollback(migrating, true)?,
                }
                Ok(told)
            }
            Err(error @ MigrateError::ExchangeOpen { .. }) => Err(error),
            Err(error) => {
                // A statement whose answer did not come may be on its way still, the exchange above all:
                // whether it happened can be asked when it has ended.
                if let Err(ending) = self.end_own_statements() {
                    self.warn_of_merges(migrating);
                    return Err(match error {
                        // Nor is it to be tried again from its beginning.
                        MigrateError::NotClean { .. } => ending,
                        first => first,
                    });
                }
                let settled = match way {
                    Way::Forward => self.settle_exchange(migrating),
                    Way::Back => self.settle_rollback(migrating),
                };
                let happened = matches!(
                    (&migrating.phase, way),
                    (Phase::CutOver(_), Way::Forward) | (Phase::Backfilled(_), Way::Back)
                );
                match (settled, error) {
                    (Ok(()), error) if happened => {
                        Ok(format!("brought to its end later, since {error}"))
                    }
                    (Ok(()), error) => Err(error),
                    // Not to be tried again from its beginning: the next command settles it.
                    (Err(settling), MigrateError::NotClean { reason }) => Err(match settling {
                        MigrateError::NotClean { .. } => {
                            let live = migrating.migration.blue.clone();
                            MigrateError::ExchangeOpen { live, layout: way.layout(), reason }
                        }
                        other => other,
                    }),
                    // The first error tells why.
                    (Err(_), error) => {
                        self.warn_of_merges(migrating);
                        Err(error)
                    }
                }
            }
        }
    }

    /// Does it again where it could not be clean, as long as cuts are tried.
    pub(crate) fn until_clean<T>(
        &self,
        migrating: &mut Migrating,
        mut work: impl FnMut(&mut Migrating) -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError> {
        // The work may be a proof, which takes what it takes.
        let mut waits = None;
        loop {
            match work(migrating) {
                Err(MigrateError::NotClean { reason }) => {
                    let waited = waits.get_or_insert_with(Instant::now).elapsed();
                    if waited > self.options.fence_timeout {
                        return Err(MigrateError::NoCleanCut { waited, reason });
                    }
                    self.observer.update(Update::Waiting { reason });
                    std::thread::sleep(PAUSE);
                }
                other => return other,
            }
        }
    }

    /// Compares the rows once the names have changed places, and brings to each table what only the other
    /// one has: to the old one what was not forwarded, to the new one what an INSERT that was cut off
    /// between the last proof and the exchange wrote to the old one alone.
    pub(crate) fn verify_exchange(&self, migrating: &mut Migrating) -> Result<(), MigrateError> {
        let changes = self.changes_since_proof(migrating)?;
        self.refuse_missed(migrating, &changes)?;
        let is_current = migrating.forwards_back();
        let migration = &migrating.migration;
        if !(migration.view_runs_back() && (migration.rows_tell() || is_current)) {
            return self.look_past_view(migrating);
        }
        let can_carry = migrating.migration.can_carry_back();
        let old = self.see(migrating.tables_now().0)?;
        let verified = self.verify(migrating);
        if let Err(MigrateError::NoParity { .. }) = &verified {
            failpoint::reached("repair-begins");
        }
        match verified {
            // What the two differ by was left by the exchange, and by nothing else.
            Err(MigrateError::NoParity { .. })
                if can_carry && changes.is_empty() && lacks_of_exchange(migrating) =>
            {
                self.carry_both(migrating)?;
                self.verify(migrating)?;
            }
            // Of a key whose newest row the old table lacks, both show another one.
            Err(MigrateError::NoParity { parity, .. })
                if can_carry && (parity.missing == 0 || migrating.migration.goes_by_version()) =>
            {
                self.carry_back(migrating, false)?;
                self.verify(migrating)?;
            }
            other => drop(other?),
        }
        self.record_compared(migrating, Some(old))
    }

    /// Rows that run across the exchange come behind others in the new table, which an engine that goes by
    /// the order takes for the newer ones. And where rows tell nothing, the log must.
    pub(crate) fn refuse_folded(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let (migration, green) = (&migrating.migration, migrating.tables_now().1);
        if !migration.minds_no_order() {
            return Err(MigrateError::FoldsAcross { green: green.clone() });
        }
        match migration.rows_tell() || self.has_log_of_parts()? {
            true => Ok(()),
            false => Err(MigrateError::FoldsUntold { green: green.clone() }),
        }
    }

    /// Steps 5 and 6 up to the view, from wherever they are. Tells how many parts it carried.
    pub(super) fn finish_swap(
        &self,
        migrating: &mut Migrating,
        swap: &Swap,
    ) -> Result<usize, MigrateError> {
        let mut carried = 0;
        if !is_carried(migrating) {
            // Also where nothing can be carried: an INSERT that is bound to the old table must not find
            // the view.
            self.wait_for_the_late(migrating, swap)?;
            if swap.carries {
                carried = self.carry_the_rest(migrating, swap)?;
            }
            failpoint::reached("late-carried");
            // From here on the old table's parts may be merged.
            let server_start = self.server_start()?;
            self.record(migrating, known_up_to(i64::MAX, server_start))?;
            failpoint::reached("all-carried");
        }
        if swap.gets_view && !self.exists(&migrating.migration.view)? {
            self.command(&migrating.migration.create_view)?;
        }
        Ok(carried)
    }

    /// Waits for the INSERTs that may write to the old table still.
    fn wait_for_the_late(&self, migrating: &Migrating, swap: &Swap) -> Result<(), MigrateError> {
        let hold = self.hold([&swap.live, &swap.other])?;
        let waited = self.wait_for_inserts(|running| self.check(&hold, || long_inserts(running)));
        if let Err(MigrateError::NotClean { .. }) = waited {
            // The readers' table must be merged. The old one gets rows of these INSERTs only.
            self.resume_merges_of(migrating, &swap.live)?;
            return self.wait_past_the_exchange(swap);
        }
        waited
    }

    fn wait_past_the_exchange(&self, swap: &Swap) -> Result<(), MigrateError> {
        self.wait_for_inserts_in_time().map_err(|error| match error {
            MigrateError::NoCleanCut { reason, .. } => {
                let layout = swap.way.layout();
                MigrateError::ExchangeOpen { live: swap.live.clone(), layout, reason }
            }
            other => other,
        })
    }

    /// Settles an exchange that was begun and not journalled as done: brings it to its end if it
    /// happened, and makes the view again if not.
    pub(crate) fn settle_swap(
        &self,
        migrating: &mut Migrating,
        way: Way,
        happened: bool,
    ) -> Result<(), MigrateError> {
        let swap = Swap::new(migrating, way);
        if happened {
            let had_to_get_view = swap.gets_view;
            let swap = swap.without_log(migrating);
            if had_to_get_view && !swap.gets_view {
                self.give_up_view(migrating)?;
                if is_carried(migrating) {
                    // What the old table gets later would be taken for a user's.
                    self.resume_merges(migrating)?;
                    self.wait_past_the_exchange(&swap)?;
                }
            }
            let settled = self.settle_late_parts(migrating, &swap);
            if let Err(MigrateError::Client(error)) = &settled
                && error.server_name().is_some()
                && is_carried(migrating)
            {
                // It is the view that cannot be made.
                self.resume_merges(migrating)?;
            } else if let Err(MigrateError::Client(error)) = &settled
                && error.server_name().is_some()
            {
                // A row that the new table refuses, say. Users must not wait for it, and can delete it. Parts that
                // are still to be told apart are held by the settings of the old table, which mutations pass; and
                // by all that there is, where some of them may be attached already.
                if swapping_of(migrating).is_none_or(|swapping| swapping.carrying.is_none()) {
                    self.resume_merges_of(migrating, &swap.live)?;
                    self.start_merges(&swap.other)?;
                }
                let what = format!(
                    "{} has the {2} layout, and what came to {} in that moment cannot be copied to it. If it is a row that the {2} layout refuses, delete it from {1}, and run the command again",
                    swap.live,
                    swap.other,
                    swap.way.layout()
                );
                self.observer.update(Update::Warning { what });
            }
            settled?;
        } else if swap.had_view {
            self.undo_swap(migrating, &swap)?;
        }
        self.resume_merges(migrating)?;
        self.drop_table(&names::across(&migrating.id))
    }

    /// The old table may lack what was written before the view was there, and its rows would not tell that.
    pub(super) fn give_up_view(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        self.drop_view(&migrating.migration.view)?;
        failpoint::reached("view-given-up");
        let (old, new) = (&migrating.migration.green, &migrating.migration.blue);
        let what = format!(
            "the exchange was cut off, and folded rows do not tell which of them {old} has missed: it is not kept current, and `teal rollback` cannot bring back what is written to {new} from now on"
        );
        self.observer.update(Update::Warning { what });
        Ok(())
    }

    fn settle_late_parts(
        &self,
        migrating: &mut Migrating,
        swap: &Swap,
    ) -> Result<(), MigrateError> {
        if swapping_of(migrating).is_none() {
            return Ok(());
        }
        if swap.carries && !is_carried(migrating) {
            match self.finish_carrying(migrating, &swap.live) {
                Err(MigrateError::NotClean { .. }) => self.carry_by_rows(migrating, swap)?,
                other => other?,
            }
            self.make_across(migrating, &swap.live)?;
        }
        match self.finish_swap(migrating, swap) {
            // Somebody has started merges.
            Err(MigrateError::NotClean { .. }) => {
                self.carry_by_rows(migrating, swap)?;
                self.finish_swap(migrating, swap)?;
            }
            other => {
                other?;
            }
        }
        Ok(())
    }

    /// Parts were merged meanwhile, and tell nothing any more: the rows themselves must tell what the
    /// readers' table lacks. Of equal rows they do not tell all, and of folded ones nothing.
    pub(super) fn carry_by_rows(
        &self,
        migrating: &mut Migrating,
        swap: &Swap,
    ) -> Result<(), MigrateError> {
        let (live, other) = (&swap.live, &swap.other);
        let migration = &migrating.migration;
        let so = match (migration.rows_tell(), migration.green_folds) {
            (true, false) => format!(
                "so the rows themselves must tell what {live} lacks: of equal rows that were written to both tables in that moment, {live} may have some too few"
            ),
            // None has an equal one.
            (true, true) => format!("so the rows themselves must tell what {live} lacks"),
            (false, _) => format!(
                "and folded rows do not tell which of them {live} has: it may lack some that were written in that moment. Compare the two by a SELECT that groups by the key"
            ),
        };
        let what = format!("parts of {other} were merged in the midst of the exchange, {so}");
        self.observer.update(Update::Warning { what });
        // One that began before the names changed places may still write to the other table, behind its clone.
        self.wait_past_the_exchange(swap)?;
        if migration.rows_tell() {
            self.carry_surplus(migrating, swap)?;
        }
        let parts = self.cut_parts(&swap.other)?;
        self.record(migrating, known_up_to(last_block(&parts), self.server_start()?))
    }

    /// Not where users may have taken those rows from the readers' table since: they would be there again.
    fn carry_surplus(&self, migrating: &Migrating, swap: &Swap) -> Result<(), MigrateError> {
        let (live, after) = (&swap.live, seen_after(migrating, swap.way));
        let mut untold = None;
        let carried = self.with_clones(&after, |sides, parity| {
            let (rows, surplus) = match swap.way {
                Way::Forward => (parity.missing, sides.of_blue_alone()),
                Way::Back => (parity.extra, sides.of_green_alone()),
            };
            if rows == 0 {
                return Ok(());
            }
            // Behind the clones: what is changed later they have not lost.
            let change = match swap.way {
                Way::Forward => self.loss_of_new(&after, true)?,
                Way::Back => self.removals_since_proof(&after)?.into_iter().next(),
            };
            match change {
                None => self.attach_surplus(&after, surplus, live, parity),
                Some(change) => {
                    untold = Some(format!("somebody has changed {live} since ({change})"));
                    Ok(())
                }
            }
        });
        match carried {
            Err(MigrateError::CannotTurn { reason, .. }) => untold = Some(reason.into()),
            Err(MigrateError::PartitionsUntold { partition, .. }) => {
                untold = Some(format!("{live} has no rows of partition {partition}"));
            }
            other => drop(other?),
        }
        if let Some(untold) = untold {
            let what = format!(
                "{untold}, so none of the rows that only {} has were copied to {live}: they may have come there in that moment. Copy what is wanted (INSERT INTO … SELECT)",
                swap.other
            );
            self.observer.update(Update::Warning { what });
        }
        Ok(())
    }
}

fn known_up_to(known: i64, server_start: i64) -> Event {
    Event::Swapping { known, server_start, since: None, merge_settings: BTreeMap::new() }
}

/// Whether rows that the new table lacks are those that an INSERT which failed has left in the old one. Later
/// on they may be any that users have deleted.
pub(crate) fn lacks_of_exchange(migrating: &Migrating) -> bool {
    matches!(&migrating.phase, Phase::CutOver(CutOver { compared: false, .. }))
}

/// Whether the readers' table has all that can still come to the old one.
fn is_carried(migrating: &Migrating) -> bool {
    swapping_of(migrating).is_some_and(|swapping| swapping.known == i64::MAX)
}
