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
//! Rows that green has too many are removed first ([`crate::removal`]), but only if it is known what
//! happened to blue ([`crate::stale`]), or the user says so: someone may have begun to write to green.

use std::collections::BTreeSet;

use serde::Deserialize;
use teal_schema::QualifiedName;

use crate::carry::CANNOT_TELL;
use crate::fence::not_clean;
use crate::removal::Extra;
use crate::stale::first_of;
use crate::state::Migrating;
use crate::verify::{BUCKET, Sides, folds};
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
/// Rows of a piece: some 100 bytes of each are held in memory at a time.
const PIECE_ROWS: u64 = 4_000_000;
/// How many buckets there are: the rest of a key by it is its bucket.
const BUCKETS: u8 = 16;

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
            return Err(MigrateError::WrongPhase {
                migration: migrating.id.clone(),
                phase: migrating.phase.name(),
                wanted: match &migrating.phase {
                    Phase::CutOver(_) => {
                        "where the old table is kept current, `teal cutover` carries to each table what only the other one has"
                    }
                    _ => {
                        "only a migration whose copy has ended, and which has not been cut over, can be repaired"
                    }
                },
            });
        }
        if migrating.migration.green_folds && self.server.write_gate().is_none() {
            return Err(MigrateError::CannotRepair { green: migrating.migration.green.clone() });
        }
        self.step(migrating, Step::Repair, |migrating| {
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

    /// Compares, and removes what green has too many, or copies what it lacks.
    fn repair_once(
        &self,
        migrating: &mut Migrating,
        leave: Leave,
        repaired: &mut Repaired,
    ) -> Result<Parity, MigrateError> {
        let mut extra = None;
        let parity = self.with_clones(migrating, |sides, parity| {
            if parity.extra == 0 {
                return self.copy_missing(migrating, sides, parity);
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
                self.remove_by_leave(migrating, leave, &extra, &parity)?;
                repaired.removed += extra.rows;
            }
            None if parity.missing > 0 => {
                self.record(migrating, Event::Repaired { rows: parity.missing })?;
                repaired.copied += parity.missing;
            }
            None => (),
        }
        Ok(parity)
    }

    fn remove_by_leave(
        &self,
        migrating: &mut Migrating,
        leave: Leave,
        extra: &Extra,
        parity: &Parity,
    ) -> Result<(), MigrateError> {
        failpoint::reached("stale-rows-collected");
        let partitions = extra.partitions();
        let causes = match (self.explain(migrating, extra)?, leave) {
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
        self.remove(migrating, extra)?;
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
        for within in self.pieces(&sides.blue, &parity.buckets())? {
            self.copy_within(migrating, &sides.blue, &sides.green, green, &within).map_err(
                |error| match error {
                    MigrateError::Client(source) if source.server_name().is_some() => {
                        let (green, rows, source) =
                            (green.clone(), parity.missing, Box::new(source));
                        MigrateError::NotCopyable { green, rows, source }
                    }
                    other => other,
                },
            )?;
            failpoint::reached("bucket-repaired");
        }
        Ok(())
    }

    /// Copies to `into` the rows that `from` has more often than `against`, as often as it has them more.
    /// Piece by piece, so that the hashes of a part of the rows are held at a time.
    pub(crate) fn copy_surplus(
        &self,
        migrating: &Migrating,
        from: &str,
        against: &str,
        into: &QualifiedName,
        bucket: u8,
    ) -> Result<(), MigrateError> {
        for within in self.pieces(from, &BTreeSet::from([bucket]))? {
            self.copy_within(migrating, from, against, into, &within)?;
        }
        Ok(())
    }

    fn copy_within(
        &self,
        migrating: &Migrating,
        from: &str,
        against: &str,
        into: &QualifiedName,
        within: &str,
    ) -> Result<(), MigrateError> {
        let columns = crate::backfill::columns(migrating);
        self.command(&format!(
            "INSERT INTO {into} ({columns}) SELECT {columns} FROM (\
                 SELECT {columns}, _teal_more, row_number() OVER (PARTITION BY _teal_hash) AS _teal_number \
                 FROM (SELECT * FROM ({from}) {within}) AS _teal_from \
                 INNER JOIN ({surplus}) AS _teal_surplus USING (_teal_hash)\
             ) WHERE _teal_number <= _teal_more \
             SETTINGS insert_deduplicate = 0, max_partitions_per_insert_block = 0",
            into = into.sql(),
            surplus = surplus(from, against, within),
        ))
    }

    /// How many rows `from` has in these buckets that `against` lacks.
    pub(crate) fn count_surplus(
        &self,
        from: &str,
        against: &str,
        buckets: &BTreeSet<u8>,
    ) -> Result<u64, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            rows: u64,
        }
        let within = in_buckets(buckets);
        let row: Row = self.with_control(|session| {
            session.row(&format!(
                "SELECT toUInt64(sum(_teal_more)) AS rows FROM ({})",
                surplus(from, against, &within)
            ))
        })?;
        Ok(row.rows)
    }

    /// The rows of these buckets, in pieces that fit into memory, as conditions.
    pub(crate) fn pieces(
        &self,
        side: &str,
        buckets: &BTreeSet<u8>,
    ) -> Result<Vec<String>, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            rows: u64,
        }
        let Row { rows } = self.with_control(|session| {
            session.row(&format!("SELECT count() AS rows FROM ({side})"))
        })?;
        Ok(pieces(rows, buckets))
    }
}

pub(crate) fn pieces(rows: u64, buckets: &BTreeSet<u8>) -> Vec<String> {
    let all = u64::from(BUCKETS);
    if rows <= PIECE_ROWS {
        return vec![in_buckets(buckets)];
    }
    let of_each = rows.div_ceil(PIECE_ROWS * all);
    let pieces = buckets.iter().flat_map(|bucket| {
        (0..of_each).map(move |piece| {
            let rest = u64::from(*bucket) + all * piece;
            format!("WHERE _teal_key % {} = {rest}", all * of_each)
        })
    });
    pieces.collect()
}

pub(crate) fn all_buckets() -> BTreeSet<u8> {
    (0..BUCKETS).collect()
}

fn in_buckets(buckets: &BTreeSet<u8>) -> String {
    let buckets = buckets.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    format!("WHERE {BUCKET} IN ({buckets})")
}

/// The hashes of the rows that `from` has more often than `against`, each with how often.
pub(crate) fn surplus(from: &str, against: &str, within: &str) -> String {
    format!(
        "SELECT _teal_hash, sum(_teal_sign) AS _teal_more FROM (\
             SELECT _teal_hash, 1::Int64 AS _teal_sign FROM ({from}) {within} \
             UNION ALL SELECT _teal_hash, -1::Int64 AS _teal_sign FROM ({against}) {within}\
         ) GROUP BY _teal_hash HAVING _teal_more > 0"
    )
}

fn no_parity(migrating: &Migrating, parity: Parity) -> MigrateError {
    MigrateError::NoParity {
        blue: migrating.migration.blue.clone(),
        green: migrating.migration.green.clone(),
        parity: Box::new(parity),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_of_all_buckets_are_all_hashes_once() {
        let buckets = (0..16).collect::<BTreeSet<_>>();
        let rows = PIECE_ROWS * 40;
        let cut = pieces(rows, &buckets).into_iter().collect::<BTreeSet<_>>();
        let all = (0..48).map(|rest| format!("WHERE _teal_key % 48 = {rest}"));
        assert_eq!(cut, all.collect());
        // A small table is not read sixteen times.
        let few = pieces(PIECE_ROWS, &BTreeSet::from([1, 3]));
        assert_eq!(few, ["WHERE bitAnd(toUInt8(_teal_key), 15) IN (1, 3)"]);
    }
}
