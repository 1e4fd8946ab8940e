//! How an exchange on a server comes to its end: in the process that began it, or in the next one.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{LastLook, Swap, Way, seen_after, swapping_of};
use crate::fence::{PAUSE, long_inserts};
use crate::state::{CutOver, Migrating};
use crate::{Event, MigrateError, Operator, Phase, Update, failpoint, names};

impl Operator<'_> {
    /// Exchanges the names, and journals that it was done. Where that fails, what was begun is brought to
    /// its end or taken back at once. `last_look` is the last that is done before the names change places.
    pub(crate) fn swap_or_settle(
        &self,
        migrating: &mut Migrating,
        way: Way,
        last_look: LastLook<'_>,
    ) -> Result<String, MigrateError> {
        match self.swap(migrating, way, last_look) {
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
                self.end_own_statements()?;
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
                            MigrateError::ExchangeOpen { live, reason }
                        }
                        other => other,
                    }),
                    // The first error tells why.
                    (Err(_), error) => Err(error),
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
        let began = Instant::now();
        loop {
            match work(migrating) {
                Err(MigrateError::NotClean { reason })
                    if began.elapsed() > self.options.fence_timeout =>
                {
                    return Err(MigrateError::NoCleanCut { waited: began.elapsed(), reason });
                }
                Err(MigrateError::NotClean { reason }) => {
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
        if !migrating.migration.view_runs_back() {
            return Ok(());
        }
        let can_carry = migrating.migration.can_carry_back();
        match self.verify(migrating) {
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
        match &migrating.phase {
            Phase::CutOver(CutOver { compared: false, .. }) => {
                self.record(migrating, Event::Compared)
            }
            _ => Ok(()),
        }
    }

    /// Rows that run across the exchange come behind others in the new table, which an engine may take
    /// for the newer ones; and what a crash leaves to be found by comparing rows, is not to be found where
    /// an engine folds them. Neither matters where a version tells which row is the newest.
    pub(crate) fn refuse_folded(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let migration = &migrating.migration;
        match migration.green_folds && !migration.goes_by_version() {
            true => Err(MigrateError::FoldsAcross { green: migrating.tables_now().1.clone() }),
            false => Ok(()),
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
            let all =
                Event::Swapping { known: i64::MAX, server_start, merge_settings: BTreeMap::new() };
            self.record(migrating, all)?;
            failpoint::reached("all-carried");
        }
        if swap.gets_view && !self.exists(&migrating.migration.view)? {
            self.command(&migrating.migration.create_view)?;
        }
        Ok(carried)
    }

    /// Waits for the INSERTs that may write to the old table still.
    fn wait_for_the_late(&self, migrating: &Migrating, swap: &Swap) -> Result<(), MigrateError> {
        let hold = self.hold()?;
        let waited = self
            .wait_for_inserts(|running| self.check(&hold, &swap.live, || long_inserts(running)));
        if let Err(MigrateError::NotClean { .. }) = waited {
            // The readers' table must be merged. The old one gets rows of these INSERTs only.
            self.resume_merges_of(migrating, &swap.live)?;
            return self.wait_for_inserts_in_time().map_err(|error| match error {
                MigrateError::NoCleanCut { reason, .. } => {
                    MigrateError::ExchangeOpen { live: swap.live.clone(), reason }
                }
                other => other,
            });
        }
        waited
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
            self.settle_late_parts(migrating, &swap)?;
        } else if swap.had_view {
            // What follows may take its time, and ends with an error where an INSERT goes on for longer.
            self.resume_merges(migrating)?;
            if !self.exists(&migrating.migration.view)? {
                // What was not forwarded meanwhile is found by the next comparison of the rows.
                self.command(&migrating.migration.create_view)?;
                failpoint::reached("view-put-back");
            }
            // One that began without the view may still be writing to blue. It ends here, or the next
            // verification could look before it does, and not find what it wrote. Also where the view is
            // there: a process before may have made it, and not waited.
            self.wait_for_inserts_in_time()?;
        }
        self.resume_merges(migrating)?;
        self.drop_table(&names::across(&migrating.id))
    }

    fn settle_late_parts(
        &self,
        migrating: &mut Migrating,
        swap: &Swap,
    ) -> Result<(), MigrateError> {
        let Some(swapping) = swapping_of(migrating) else {
            return Ok(());
        };
        if swap.carries && !is_carried(migrating) {
            // Give or take one: `uptime` counts whole seconds.
            let is_anew = self.server_start()?.abs_diff(swapping.server_start) > 1;
            if is_anew && swapping.merge_settings.is_empty() {
                self.carry_by_rows(migrating, swap)?;
            }
            self.finish_carrying(migrating, swap)?;
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
    /// readers' table lacks. Of equal rows they do not tell all.
    pub(super) fn carry_by_rows(
        &self,
        migrating: &mut Migrating,
        swap: &Swap,
    ) -> Result<(), MigrateError> {
        let (live, other) = (&swap.live, &swap.other);
        // Of folded rows none has an equal one.
        let unless_folded = match migrating.migration.green_folds {
            true => String::new(),
            false => format!(
                ": of equal rows that were written to both tables in that moment, {live} may have some too few"
            ),
        };
        let what = format!(
            "parts of {other} were merged in the midst of the exchange, so the rows themselves must tell what {live} lacks{unless_folded}"
        );
        self.observer.update(Update::Warning { what });
        let after = seen_after(migrating, swap.way);
        self.with_clones(&after, |sides, parity| match swap.way {
            Way::Forward if parity.missing > 0 => {
                self.attach_surplus(&after, sides.of_blue_alone(), &swap.live, parity)
            }
            Way::Back if parity.extra > 0 => {
                self.attach_surplus(&after, sides.of_green_alone(), &swap.live, parity)
            }
            _ => Ok(()),
        })?;
        let parts = self.parts_for_swap(&swap.other)?;
        let known = parts.iter().map(|part| part.max_block).max().unwrap_or(0);
        let server_start = self.server_start()?;
        let known = Event::Swapping { known, server_start, merge_settings: BTreeMap::new() };
        self.record(migrating, known)
    }
}

/// Whether rows that the new table lacks are those that an INSERT which failed has left in the old one. Later
/// on they may be any that users have deleted.
pub(crate) fn lacks_of_exchange(migrating: &Migrating) -> bool {
    matches!(&migrating.phase, Phase::CutOver(CutOver { compared: false, new_seen: Some(_), .. }))
}

/// Whether the readers' table has all that can still come to the old one.
fn is_carried(migrating: &Migrating) -> bool {
    swapping_of(migrating).is_some_and(|swapping| swapping.known == i64::MAX)
}
