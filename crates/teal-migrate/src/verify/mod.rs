//! The proof that green holds exactly the rows of blue seen through the SELECT.
//!
//! With the gate closed for some milliseconds, a SELECT over both tables is started. It reads the
//! parts of one moment at which no INSERT ran, so it must find the same multiset of rows in both,
//! which it tells by count and order-free sum of a 128-bit hash of the rows, per partition of green
//! and bucket of the hash.
//!
//! Where they do not, or where green's engine folds rows in their order, both tables are cloned by hard
//! links with the gate closed once more, and the clones are compared; they stay for a closer look. A
//! difference that this second look finds is real.
//!
//! On a server no INSERT can be held, and one that is under way may have written to blue only. There,
//! each bucket is looked at until it was equal once ([`looks`]). What stays different is looked at row by
//! row, in clones that are made one after another, with the INSERTs that run between them waited for, so
//! that every INSERT of which one clone has rows has ended before the next is made.
//!
//! What two such clones say of a row depends on their order, for an equal row may come between them. Let
//! green lack it `d` times (fewer than 0 times: have it too often), and let `n` equal ones come in between,
//! which only the second clone has.
//!
//! - Blue, then green: blue has it `d - n` times more. More than 0 times means that green lacks it, for
//!   sure, and so often at least. But 0 times may be one that is lost and one that came.
//! - Green, then blue: blue has it `d + n` times more. So 0 times or fewer means that green does not lack
//!   it, for sure. But more than 0 may be one that came.
//!
//! With the two names changed round, the same holds of rows that green has too many; and as an INSERT has
//! ended in both tables before the next clone, it is of no matter which way the view forwards. So five
//! clones are made: blue, green, blue, green, blue. The last three say what is missing and what is too
//! many for sure, and only that is copied or removed. A row is in both alike if one of the two pairs of a
//! kind says so: unless an equal one comes between each two clones, one does. What neither says is no
//! difference and no proof either: the verification does not pass, and says of how many rows it cannot tell.
//!
//! Where green's engine folds rows, those are compared that are left when it has done so ([`folded`]).

pub(crate) mod alone;
mod drill_down;
mod folded;
mod hidden;
mod looks;
mod lost;
mod newest;
pub(crate) mod parity;
mod sample;
mod sides;
mod sums;
mod surplus;
mod unchanged;

use std::collections::BTreeSet;

pub(crate) use drill_down::SPILL;
use drill_down::{in_partitions, within_buckets};
use sample::Sampled;
pub use sample::{SampleFound, SampleOf};
use sides::folds_in_order;
pub(crate) use sides::{Sides, folds, partition_expression, row_hash, shown, sides};
use sums::{Sums, parity, read_sums, sums_query};
pub(crate) use surplus::{Surplus, hashes_of_surplus};
use teal_catalog::amount;
use teal_client::{Format, TEAL_LOG_COMMENT};
use teal_plan::{Compared, Fold, Migration};
use teal_schema::QualifiedName;
pub use unchanged::ProvenPartition;
use unchanged::{noted, proven, unchanged, without};

use crate::journal::state::Migrating;
use crate::{Event, MigrateError, Mismatch, Operator, Parity, Phase, Step, failpoint, names};

/// Rows that one table alone has, and that would be lost with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sought {
    OfGreen,
    OfBlue,
}

/// What a comparison of clones tells of rows that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// How many there are.
    Numbers,
    /// Some of them too, which takes as long again as to count them.
    Samples,
}

/// What says which rows a mismatch is of.
fn rows_of(mismatch: &Mismatch) -> (u8, String) {
    (mismatch.bucket, mismatch.partition.clone())
}

/// Two clones, compared.
struct ComparedClones {
    sides: Sides,
    parity: Parity,
    /// How long INSERTs were held to make them.
    held: String,
}

/// What a comparison found.
struct Found {
    parity: Parity,
    /// How it looked, or how long INSERTs were held for it.
    how: String,
    /// The partitions that need not be read the next time, if the rows are the same.
    proven: Vec<ProvenPartition>,
}

impl Operator<'_> {
    /// Compares the two tables and journals a proof of parity.
    ///
    /// # Errors
    /// [`MigrateError::NoParity`] when they differ, [`MigrateError::ValuesLost`] when green's types do not hold
    /// every value; what stopped the comparison.
    pub(crate) fn verify(&self, migrating: &mut Migrating) -> Result<Parity, MigrateError> {
        self.step(migrating, Step::Verify, |migrating| {
            failpoint::reached("verify-begins");
            // Before the comparison: what goes meanwhile was seen.
            let blue = self.see_without_mutations(migrating)?;
            self.refuse_untold_states(migrating)?;
            let Found { parity, how, proven } = self.find(migrating, Told::Samples)?;
            if !parity.holds() {
                return Err(MigrateError::NoParity {
                    blue: migrating.migration.blue.clone(),
                    green: migrating.migration.green.clone(),
                    parity: Box::new(parity),
                });
            }
            self.refuse_lost_values(migrating)?;
            let outcome = format!("{parity}; {how}");
            if matches!(migrating.phase, Phase::Backfilled(_) | Phase::Verified(_)) {
                let verified = Event::Verified { parity: parity.clone(), proven };
                let events = vec![verified, Event::Seen { blue }];
                self.record_all(migrating, events)?;
                failpoint::reached("verified");
            }
            Ok((parity, outcome))
        })
    }

    /// Compares the two tables as they are at one moment.
    ///
    /// # Errors
    /// As of [`verify`](Self::verify), but that a difference is no error here.
    pub fn compare(&self, migrating: &Migrating) -> Result<Parity, MigrateError> {
        self.refuse_other_blue(migrating)?;
        self.refuse_untold_states(migrating)?;
        let parity = self.compare_rows(migrating)?;
        if parity.holds() {
            self.refuse_lost_values(migrating)?;
        }
        Ok(parity)
    }

    /// A value that blue has another of by now may leave a state's result and its size as they were.
    fn refuse_untold_states(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let Some(Fold::Merge { merged, .. }) = &migrating.migration.fold else {
            return Ok(());
        };
        let is_untold = merged.iter().any(|it| it.compared == Compared::Result);
        // Behind a cutover, what was changed in place is told as such.
        if !is_untold || matches!(migrating.phase, Phase::CutOver(_)) {
            return Ok(());
        }
        match self.removals_since_proof(migrating)?.into_iter().next() {
            None => Ok(()),
            Some(change) => {
                let (blue, green) = migrating.tables_now();
                let (blue, green, change) = (blue.clone(), green.clone(), change.into());
                Err(MigrateError::StatesUntold { blue, green, change })
            }
        }
    }

    /// Before a cutover the old table must be the one that the migration began with.
    fn refuse_other_blue(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        match &migrating.phase {
            Phase::CutOver(_) => Ok(()),
            _ => self.refuse_last_copy(migrating),
        }
    }

    /// As [`compare`](Self::compare), where it is only asked which rows the two have, seen in green's types.
    pub(crate) fn compare_rows(&self, migrating: &Migrating) -> Result<Parity, MigrateError> {
        Ok(self.find(migrating, Told::Samples)?.parity)
    }

    /// A value that green's type does not hold at all makes the comparison an error, which tells no row.
    fn or_say_why_not<T>(
        &self,
        migrating: &Migrating,
        compared: Result<T, MigrateError>,
    ) -> Result<T, MigrateError> {
        match compared {
            Err(MigrateError::Client(error)) if error.server_name().is_some() => {
                let altered = self.refuse_tables_altered(migrating);
                match altered.and_then(|()| self.refuse_lost_values(migrating)) {
                    Err(
                        why @ (MigrateError::Altered { .. }
                        | MigrateError::LastCopy { .. }
                        | MigrateError::NewGone { .. }
                        | MigrateError::ValuesLost { .. }),
                    ) => Err(why),
                    // The first error tells why.
                    _ => Err(error.into()),
                }
            }
            other => other,
        }
    }

    fn find(&self, migrating: &Migrating, told: Told) -> Result<Found, MigrateError> {
        self.or_say_why_not(migrating, self.refuse_hidden_rows(migrating))?;
        // Of the same rows an engine makes the same ones, but for those that go by the order. This look takes a part
        // of the time, and finds them the same until merges of one table fold what is still in the other.
        if may_be_equal_unfolded(&migrating.migration) && !self.have_folded(migrating)? {
            let unfolded = migrating.unfolded();
            let first = match self.server.write_gate() {
                Some(_) => self.compare_at_once(&unfolded, None),
                None => self.compare_in_one_look(&unfolded),
            };
            let first = self.or_say_why_not(migrating, first)?;
            if first.parity.holds() {
                return Ok(first);
            }
        }
        if self.server.write_gate().is_none() {
            let found = self.compare_with_looks(migrating, told);
            return self.or_say_why_not(migrating, found);
        }
        if !folds_in_order(migrating) {
            let first = self.compare_at_once(migrating, None);
            let first = self.or_say_why_not(migrating, first)?;
            if first.parity.holds() {
                return Ok(first);
            }
        }
        let mut how = String::new();
        let parity = self.with_clones_and_tell(migrating, told, &mut how, |_, _| Ok(()))?;
        Ok(Found { parity, how, proven: Vec::new() })
    }

    /// Whether the two tables' parts have numbers of rows so far apart that merges must have folded many in one of
    /// them: what an INSERT under way, or a lightweight DELETE, makes of the numbers is less, as a rule.
    fn have_folded(&self, migrating: &Migrating) -> Result<bool, MigrateError> {
        // In the midst of a copy, the numbers say how far it has come.
        if !migrating.migration.is_identity || migrating.uncopied.is_some() {
            return Ok(false);
        }
        let (blue, green) = migrating.tables_now();
        let [blue, green] = [blue, green].map(|table| {
            self.with_control(|session| amount(session, table)).map(|amount| amount.rows)
        });
        let (blue, green) = (blue?, green?);
        Ok(blue.abs_diff(green) > blue.max(green) / 10)
    }

    /// Clones both tables at one moment, compares the clones, and lets `use_them` work with them.
    pub(crate) fn with_clones(
        &self,
        migrating: &Migrating,
        use_them: impl FnOnce(&Sides, &Parity) -> Result<(), MigrateError>,
    ) -> Result<Parity, MigrateError> {
        self.with_clones_telling(migrating, Told::Numbers, use_them)
    }

    /// The same; of a difference that is shown to the user, with samples.
    pub(crate) fn with_clones_telling(
        &self,
        migrating: &Migrating,
        told: Told,
        use_them: impl FnOnce(&Sides, &Parity) -> Result<(), MigrateError>,
    ) -> Result<Parity, MigrateError> {
        let mut alone = None;
        let parity =
            self.with_clones_and_tell(migrating, told, &mut String::new(), |sides, parity| {
                let parity = alone.insert(self.tell_alone(sides, parity)?);
                use_them(sides, parity)
            })?;
        Ok(alone.unwrap_or(parity))
    }

    /// What each of the two tables alone has. Where the newest row of a key counts, an older one is no row that the
    /// other table lacks.
    fn tell_alone(&self, sides: &Sides, parity: &Parity) -> Result<Parity, MigrateError> {
        let mut parity = parity.clone();
        if sides.newest.is_some() && !parity.holds() {
            let buckets = parity.buckets();
            parity.missing = self.count_surplus(&sides.of_blue_alone(), &buckets)?;
            parity.extra = self.count_surplus(&sides.of_green_alone(), &buckets)?;
            parity.unsure = 0;
        }
        Ok(parity)
    }

    /// As [`compare_rows`](Self::compare_rows), where it matters how many rows each of the two tables alone has.
    pub(crate) fn compare_alone(&self, migrating: &Migrating) -> Result<Parity, MigrateError> {
        let found = self.find(migrating, Told::Numbers)?.parity;
        match migrating.migration.goes_by_version() && !found.holds() {
            true => self.with_clones(migrating, |_, _| Ok(())),
            false => Ok(found),
        }
    }

    fn with_clones_and_tell(
        &self,
        migrating: &Migrating,
        told: Told,
        held: &mut String,
        use_them: impl FnOnce(&Sides, &Parity) -> Result<(), MigrateError>,
    ) -> Result<Parity, MigrateError> {
        let id = &migrating.id;
        let (blue, green) = (names::verify(id, "blue"), names::verify(id, "green"));
        let compared = self.compare_clones(migrating, &blue, &green, told);
        let compared = self.or_say_why_not(migrating, compared);
        let result = compared.and_then(|compared| {
            *held = compared.held;
            use_them(&compared.sides, &compared.parity)?;
            Ok(compared.parity)
        });
        let dropped =
            names::VERIFY.iter().try_for_each(|it| self.drop_table(&names::verify(id, it)));
        let parity = result?;
        dropped?;
        Ok(parity)
    }

    fn compare_at_once(
        &self,
        migrating: &Migrating,
        sample: Option<&Sampled>,
    ) -> Result<Found, MigrateError> {
        let (blue, green) = migrating.tables_now();
        let (both, partition) = (sides(migrating, blue, green)?, partition_expression(migrating));
        let mut session = self.server.session(&[])?;
        let mut body = Vec::new();
        // Loads what the start of the query needs (the parts' indexes) while nobody waits for it.
        session.command(&format!("EXPLAIN {}", sums_query(&both, &partition, "", "")))?;
        let mut before = self.partitions(migrating)?;
        let mut closed = Some(self.close_gate()?);
        let mut left_out = sample.map(|sample| sample.left_out.clone()).unwrap_or_default();
        if sample.is_none() && !proven(migrating).is_empty() {
            // Of this moment, at which the other partitions are read.
            before = self.partitions(migrating)?;
            left_out = unchanged(proven(migrating), &before);
        }
        let within = sample.map(|sample| format!(" WHERE 1{}", sample.within)).unwrap_or_default();
        let query = sums_query(&both, &partition, &within, &without(migrating, &left_out));
        let mut held = String::new();
        // One query reads both tables, so that it has taken hold of both when it has started. With
        // two, the first one's work keeps the second from starting: 50 ms were seen, not 5.
        session.stream_from_now(
            &query,
            Format::JSON_EACH_ROW,
            &mut || {
                if let Some(closed) = closed.take() {
                    held = closed.open();
                }
            },
            &mut |piece| body.extend_from_slice(piece),
        )?;
        drop(closed);
        failpoint::reached("verify-started");
        let (blue, green) = read_sums(&body, &query)?;
        let mut parity = parity(&blue, &green);
        parity.folded = migrating.migration.green_folds;
        if sample.is_some() {
            return Ok(Found { parity, how: held, proven: Vec::new() });
        }
        let parity = parity.and_unchanged(&left_out);
        let proven = noted(&before, self.partitions(migrating)?);
        Ok(Found { parity, how: held, proven })
    }

    fn compare_clones(
        &self,
        migrating: &Migrating,
        blue: &QualifiedName,
        green: &QualifiedName,
        told: Told,
    ) -> Result<ComparedClones, MigrateError> {
        let (blue_now, green_now) = migrating.tables_now();
        let like_blue = if folds_in_order(migrating) { green_now } else { blue_now };
        self.make_own(blue, like_blue)?;
        self.make_own(green, green_now)?;
        failpoint::reached("verify-tables-made");
        let clone = |clone: &QualifiedName, table: &QualifiedName, is_ahead| {
            self.clone_now(table, clone, is_ahead)?;
            failpoint::reached("verify-table-cloned");
            Ok(())
        };
        let mut earlier = None;
        let (held, later) = match self.server.write_gate() {
            Some(_) => {
                let ahead = self.clone_ahead(blue_now, blue)?;
                let green_ahead = self.clone_ahead(green_now, green)?;
                let cut = self.with_gate_closed(|| {
                    clone(blue, blue_now, ahead)?;
                    clone(green, green_now, green_ahead)
                })?;
                (cut.held, None)
            }
            None => {
                let later = self.make_clone_named(migrating, "later", like_blue)?;
                if !folds(migrating) {
                    let first_blue = self.make_clone_named(migrating, "first_blue", like_blue)?;
                    let first_green = self.make_clone_named(migrating, "first_green", green_now)?;
                    for (to, from) in [(&first_blue, blue_now), (&first_green, green_now)] {
                        clone(to, from, false)?;
                        self.wait_for_inserts_in_time()?;
                    }
                    earlier = Some((first_blue, first_green));
                }
                clone(blue, blue_now, false)?;
                self.wait_for_inserts_in_time()?;
                clone(green, green_now, false)?;
                self.wait_for_inserts_in_time()?;
                clone(&later, blue_now, false)?;
                (String::new(), Some(later))
            }
        };
        failpoint::reached("verify-tables-cloned");
        let mut both = sides(migrating, blue, green)?;
        let mut parity = self.sums_of_clones(migrating, &both)?;
        let later = later.map(|later| sides(migrating, &later, green)).transpose()?;
        if let (Some(later), Some((blue, green))) = (&later, earlier) {
            // Blue behind green as well: with either order alone, some difference may hide.
            let known = parity.mismatches.iter().map(rows_of).collect::<BTreeSet<_>>();
            let more = self.sums_of_clones(migrating, later)?.mismatches.into_iter();
            parity.mismatches.extend(more.filter(|it| !known.contains(&rows_of(it))));
            let earlier = sides(migrating, &blue, &green)?;
            both.earlier = Some((earlier.blue, earlier.green));
        }
        if let Some(later) = later {
            both.set_later(later);
        }
        if !parity.holds() {
            both.in_partitions = in_partitions(&partition_expression(migrating), &parity);
            let differing = format!("{}{}", within_buckets(&parity.buckets()), both.in_partitions);
            let shown = (told == Told::Samples).then(|| shown(migrating));
            both.narrowed = self.drill_down(&both, shown.as_deref(), &differing, &mut parity)?;
        }
        Ok(ComparedClones { sides: both, parity, held })
    }

    /// The sums of blue and of green, by a statement that `status` finds.
    fn read_both(&self, migrating: &Migrating, query: &str) -> Result<(Sums, Sums), MigrateError> {
        let mut session =
            self.server.session(&[("log_comment", &comment_of_proof(&migrating.id))])?;
        let answer = session.run(query, Format::JSON_EACH_ROW)?;
        Ok(read_sums(&answer.body, query)?)
    }

    fn make_clone_named(
        &self,
        migrating: &Migrating,
        name: &str,
        like: &QualifiedName,
    ) -> Result<QualifiedName, MigrateError> {
        let clone = names::verify(&migrating.id, name);
        self.make_own(&clone, like)?;
        Ok(clone)
    }

    fn sums_of_clones(&self, migrating: &Migrating, both: &Sides) -> Result<Parity, MigrateError> {
        let query = sums_query(both, &partition_expression(migrating), "", "");
        let (blue_sums, green_sums) = self.read_both(migrating, &query)?;
        let mut parity = parity(&blue_sums, &green_sums);
        parity.folded = migrating.migration.green_folds;
        Ok(parity)
    }
}

/// The `log_comment` of the statements that read both tables of a migration.
pub(crate) fn comment_of_proof(migration: &str) -> String {
    format!("{TEAL_LOG_COMMENT} proof of {migration}")
}

/// What a SELECT with GROUP BY makes of the whole is never what it makes of the pieces.
fn may_be_equal_unfolded(migration: &Migration) -> bool {
    match &migration.fold {
        None | Some(Fold::Last { .. }) => false,
        Some(Fold::Merge { .. }) => migration.is_identity,
        Some(Fold::Version { .. } | Fold::Sign { .. }) => true,
    }
}
