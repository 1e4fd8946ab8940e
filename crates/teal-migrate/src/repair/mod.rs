//! Makes green equal to blue again, by what is proven.
//!
//! An INSERT writes to blue and, through the view, to green. When the server dies between the two,
//! blue has the rows and green does not. Nobody was told that this INSERT succeeded, but blue has
//! its rows, so green must have them too.
//!
//! Both tables are cloned at one moment at which no INSERT ran. A row that green lacked then it lacks
//! still, since every INSERT after that moment writes to both; so the rows can be copied while the
//! traffic goes on. A crash in the middle leaves some of them missing, which the next comparison
//! finds.
//!
//! Rows that green has too many are removed first ([`crate::repair::removal`]), but only if it is known what
//! happened to blue ([`crate::repair::stale`]), or the user says so: someone may have begun to write to green.

pub(crate) mod removal;
pub(crate) mod seen;
pub(crate) mod stale;

use crate::fence::not_clean;
use crate::journal::state::Migrating;
use crate::repair::removal::Extra;
use crate::repair::stale::first_of;
use crate::rollback::carry::CANNOT_TELL;
use crate::verify::{Sides, Told, folds};
use crate::{Event, MigrateError, Operator, Parity, Phase, Step, Update, failpoint, names};

/// By whose leave rows are removed that green has too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Only where it is known how blue lost them.
    ByCause,
    /// The user wants green to be as blue, whatever the cause.
    ByUser,
}

/// What a repair did, in rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repaired {
    /// That green had too many. Of equal rows all may go, and come back as copies.
    pub removed: u64,
    /// That green lacked.
    pub copied: u64,
}

/// While blue is being changed, a repair may have to begin again.
const ROUNDS: u32 = 3;

impl Operator<'_> {
    /// Removes from green what blue has lost, and copies what green lacks. Parity is still to be proven
    /// afterwards.
    ///
    /// # Errors
    /// [`MigrateError::Unexplained`] when green has rows too many for which there is no leave; what
    /// stopped it.
    pub fn repair(
        &self,
        migrating: &mut Migrating,
        leave: Leave,
    ) -> Result<Repaired, MigrateError> {
        self.heal_at_last(migrating)?;
        if !matches!(migrating.phase, Phase::Backfilled(_) | Phase::Verified(_)) {
            return Err(migrating.wrong_phase(match &migrating.phase {
                Phase::CutOver(_) => {
                    "where the old table is kept current, `teal cutover` carries to each table what only the other one has"
                }
                _ => {
                    "only a migration whose copy has ended, and which has not been cut over, can be repaired"
                }
            }));
        }
        if !self.can_repair(migrating) {
            return Err(MigrateError::CannotRepair { green: migrating.migration.green.clone() });
        }
        self.refuse_while_read_behind(migrating)?;
        self.step(migrating, Step::Repair, |migrating| {
            failpoint::reached("repair-begins");
            self.refuse_altered(migrating)?;
            self.settle_removal(migrating)?;
            self.wait_for_mutations(migrating)?;
            let mut repaired = Repaired::default();
            let mut parity = self.repair_once(migrating, leave, &mut repaired)?;
            for _ in 1..ROUNDS {
                if parity.extra == 0 {
                    break;
                }
                parity = self.repair_once(migrating, leave, &mut repaired)?;
            }
            if parity.extra > 0 {
                return Err(no_parity(migrating, parity));
            }
            let Repaired { removed, copied } = repaired;
            let outcome = match removed {
                0 => format!("{copied} rows copied that green lacked"),
                _ => format!(
                    "{removed} rows removed that blue lacks, {copied} copied that green lacked"
                ),
            };
            Ok((repaired, outcome))
        })
    }

    /// Of folded rows it could not be told where INSERTs go on, unless a version tells it.
    pub(crate) fn can_repair(&self, migrating: &Migrating) -> bool {
        let migration = &migrating.migration;
        migration.rows_tell() || self.server.write_gate().is_some()
    }

    /// Compares, and removes what green has too many, or copies what it lacks.
    fn repair_once(
        &self,
        migrating: &mut Migrating,
        leave: Leave,
        repaired: &mut Repaired,
    ) -> Result<Parity, MigrateError> {
        let (mut extra, mut copied) = (None, 0);
        let parity = self.with_clones_telling(migrating, Told::Samples, |sides, parity| {
            if parity.missing > 0 && (parity.extra == 0 || migrating.migration.goes_by_version()) {
                copied = parity.missing;
                // What green has too many as well is told by the next comparison.
                return self.copy_missing(migrating, sides, parity);
            }
            if parity.missing + parity.extra == 0 {
                return Ok(());
            }
            if folds(migrating) {
                let green = migrating.migration.green.clone();
                return Err(MigrateError::StaleFolds { green, parity: Box::new(parity.clone()) });
            }
            extra = Some(self.collect_extra(migrating, sides, parity)?);
            Ok(())
        })?;
        match extra {
            Some(extra) => {
                let rows = extra.rows;
                self.remove_by_leave(migrating, leave, extra, &parity)?;
                repaired.removed += rows;
            }
            None if copied > 0 => {
                self.record(migrating, Event::Repaired { rows: copied })?;
                repaired.copied += copied;
                self.tell_views_behind(migrating)?;
            }
            None => (),
        }
        Ok(parity)
    }

    /// What is copied goes on by the views of green, as each INSERT does; what was removed did not.
    fn tell_views_behind(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let green = migrating.tables_now().1;
        let views =
            self.readers(migrating, green)?.into_iter().filter(|it| it.view.is_materialized);
        let views = views.map(|it| it.view.name.to_string()).collect::<Vec<_>>();
        if !views.is_empty() {
            let what = format!(
                "the rows that were copied to {green} went on through {}: where they were there before, removed or changed, it has them twice",
                views.join(", ")
            );
            self.observer.update(Update::Warning { what });
        }
        Ok(())
    }

    fn remove_by_leave(
        &self,
        migrating: &mut Migrating,
        leave: Leave,
        mut extra: Extra,
        parity: &Parity,
    ) -> Result<(), MigrateError> {
        failpoint::reached("stale-rows-collected");
        let partitions = extra.partitions();
        // What comes behind this look, the log need not tell yet.
        extra.up_to = self.last_blocks(migrating.tables_now().1, "1")?;
        let causes = match (self.explain(migrating, &extra)?, leave) {
            (Ok(causes), _) => causes,
            (Err(_), Leave::ByUser) => vec!["removed by the user's leave".to_owned()],
            (Err(reason), Leave::ByCause) => {
                self.drop_table(&names::extra(&migrating.id))?;
                let (blue, green) = migrating.tables_now();
                return Err(MigrateError::Unexplained {
                    blue: blue.clone(),
                    green: green.clone(),
                    parity: Box::new(parity.clone()),
                    reason: format!("partition {} of {green}: {reason}", first_of(&partitions))
                        .into_boxed_str(),
                });
            }
        };
        let what = format!(
            "partition {} of {}, {} rows too many: {}",
            first_of(&partitions),
            migrating.tables_now().1,
            extra.rows,
            first_of(&causes)
        );
        self.observer.update(Update::Stale { what });
        self.record(migrating, Event::Stale { rows: extra.rows, partitions, causes })?;
        failpoint::reached("stale");
        self.remove(migrating, &extra)?;
        self.settle_removal(migrating)
    }

    /// Rows that green has too many, if it is not known how blue lost them.
    pub(crate) fn unexplained(&self, migrating: &Migrating) -> Result<u64, MigrateError> {
        let mut extra = Extra::default();
        let migrating = &migrating.with_every_row();
        let parity = self.with_clones(migrating, |sides, parity| {
            if parity.extra > 0 && !folds(migrating) {
                extra = self.collect_extra(migrating, sides, parity)?;
            }
            Ok(())
        })?;
        self.drop_table(&names::extra(&migrating.id))?;
        if parity.extra == 0 && parity.unsure > 0 {
            return Err(not_clean(CANNOT_TELL));
        }
        match parity.extra > 0 && self.explain(migrating, &extra)?.is_ok() {
            true => Ok(0),
            false => Ok(parity.extra),
        }
    }

    fn copy_missing(
        &self,
        migrating: &Migrating,
        sides: &Sides,
        parity: &Parity,
    ) -> Result<(), MigrateError> {
        let green = migrating.tables_now().1;
        let missing = sides.of_blue_alone();
        for within in self.pieces(&missing, &parity.buckets())? {
            self.copy_within(&missing, green, &within).map_err(|error| match error {
                MigrateError::Client(source) if source.server_name().is_some() => {
                    let (green, rows, source) = (green.clone(), parity.missing, Box::new(source));
                    MigrateError::NotCopyable { green, rows, source }
                }
                other => other,
            })?;
            failpoint::reached("bucket-repaired");
        }
        Ok(())
    }
}

fn no_parity(migrating: &Migrating, parity: Parity) -> MigrateError {
    MigrateError::NoParity {
        blue: migrating.migration.blue.clone(),
        green: migrating.migration.green.clone(),
        parity: Box::new(parity),
    }
}
