//! The exchange of two names on a server, where INSERTs go on.
//!
//! An INSERT binds itself at several moments: first it is in the list of the server's processes, then it
//! looks which table its name means, then which views that table has, then which table each view's
//! target means (by name, last of all). What the exchange comes between is bound in part to the old
//! world and in part to the new one. With the view kept, as `EXCHANGE TABLES` alone would have it, an
//! INSERT would be in the old table only (table before, views after), or twice in the old table (table
//! and views before, target after); and the two cannot be told apart by their parts, for the view cuts
//! its blocks anew. So no INSERT may ever meet both an exchange and a view. Let the readers' name mean
//! the data X before and Y after:
//!
//! 1. Merges of X and Y are stopped, and the running ones end: until 6, parts stay what they are.
//! 2. The view is dropped, and every INSERT that runs then is waited for. Each may have known the view;
//!    when they have ended, no INSERT knows one, and what the view forwarded is in X and Y as a whole.
//! 3. The parts that X got since 1 are told apart by `part_log`: those of a query that wrote no part of
//!    Y are copied to Y. A second time, what X got since that list; no INSERT is forwarded any more, so
//!    that is all of it. Readers are still on X, and lack nothing.
//! 4. The journal gets the last block of X of which all is in Y (`swapping`). A part gets its block when
//!    it is committed, so what X gets later has a later one. Merges are stopped by settings too, which
//!    outlive the server ([`merges`]). `EXCHANGE TABLES`.
//! 5. Parts of X behind that block are copied to Y, at once, and again when every INSERT has ended that
//!    runs then: one that looked for its table before 4 writes to X, and has ended now. X gets no more.
//!    From now on Y has every row of X.
//!    The journal gets that (`swapping` again, with the last block there can be).
//! 6. The view is made anew: the same statement, so it forwards from Y to X. INSERTs that began before
//!    it are waited for; the parts of Y that were not forwarded are told by `part_log`, as in 3, and
//!    copied to X. Merges start again.
//!
//! Rows that a user wrote between the last list of 3 and the first copy of 5, or by an INSERT that ran
//! across the exchange, are not seen by the readers until they are copied: some hundredths of a second.
//!
//! What is copied goes into a table of teal's own, and is attached: no view forwards it, nobody's view
//! sees it twice. In step 5 the journal gets the uuids of those parts before, so that a crash does not
//! attach them twice.
//!
//! A crash before the exchange: all of Y's rows are X's, so the view is made again ([`undo`]), and the
//! next verification finds what Y lacks. A crash after it: step 5 is done again, for parts behind the block
//! that were not copied; merges start only behind its last entry; then the view is made. What X lacks then is
//! found when the rows are compared, which is exact, for Y has every row of X. Were rows compared
//! earlier, one that was written to X only and an equal one that was written to Y only would hide each
//! other. Only if somebody has merged parts nevertheless (`OPTIMIZE … FINAL`) must step 5 compare the
//! rows; that is told.
//!
//! An INSERT that fails, or whose client goes, between its two tables leaves rows in X alone: behind the last
//! proof, or with some of its parts in Y, so that the log takes it for forwarded. Nobody was told that it
//! succeeded, but readers have seen its rows. They are found too when the rows are compared at the end, and
//! carried to Y, unless one of the two was changed in place since. That is done until both were equal once
//! (`compared`): what Y lacks later, users have deleted there.
//!
//! Without `part_log` the exchange is made only if X got no part in steps 2 and 3; what step 6 would read
//! from the log is found by comparing the rows.
//!
//! Where an engine merges rows into others (sums, states, signs), rows tell nothing. Steps 1 to 5 are by parts,
//! and lose none; what step 3 copies gets into the journal too, so that parts tell what Y lacks where it is
//! taken back. Where step 6 was cut off, or has no log, there is no view then, so that nobody takes X for
//! current; and of parts that somebody has merged it is not known what Y has of them, which is told.

mod across;
mod merges;
mod settle;
mod undo;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use settle::lacks_of_exchange;
use teal_plan::Cutover;
use teal_schema::QualifiedName;

use crate::fence::{CutPart, Hold, long_inserts, not_clean, refuse_merged};
use crate::journal::phase::{Backfilled, CutOver, Opened, Phase, Swapping};
use crate::journal::state::Migrating;
use crate::logs::of_data;
use crate::{Event, MigrateError, Operator, failpoint};

/// Which way the readers go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From blue's data to green's.
    Forward,
    /// From green's data back to blue's.
    Back,
}

impl Way {
    /// What the readers' name has afterwards.
    fn layout(self) -> &'static str {
        match self {
            Self::Forward => "new",
            Self::Back => "old",
        }
    }
}

/// What must hold for the names to change places.
type LastLook<'a> = &'a dyn Fn(&Migrating) -> Result<(), MigrateError>;

/// An exchange, as one migration needs it.
struct Swap {
    way: Way,
    /// The name that readers and writers use.
    live: QualifiedName,
    /// The other table's name.
    other: QualifiedName,
    /// What goes by the readers' name before the exchange can be copied to the other table.
    carries: bool,
    /// The view that is there before.
    had_view: bool,
    /// The view can be there afterwards, and forward the other way.
    gets_view: bool,
    /// Without a view: of what the readers' name means, the last block of which all was seen in the other table.
    seen_up_to: Option<i64>,
}

/// How often the newest parts are copied before the exchange, so that few are left for after it.
const PASSES: u32 = 2;

impl Swap {
    fn new(migrating: &Migrating, way: Way) -> Self {
        let migration = &migrating.migration;
        Self {
            way,
            live: migration.blue.clone(),
            other: migration.green.clone(),
            carries: way == Way::Forward || migration.view_runs_back(),
            had_view: way == Way::Forward || migrating.forwards_back(),
            gets_view: way == Way::Back || migration.view_runs_back(),
            seen_up_to: None,
        }
    }

    /// No log tells what the view does not forward. Where the rows do not tell it either, no view is to
    /// keep the old table current.
    fn without_log(mut self, migrating: &Migrating) -> Self {
        self.gets_view &= self.way == Way::Back || migrating.migration.rows_tell();
        self
    }
}

/// One exchange, as it is made.
struct Cut {
    hold: Hold,
    /// The server's time before it.
    since: u32,
    has_log: bool,
    /// How `part_log` tells the data that the readers' name means before and after. By the data and not
    /// by the name, for the entries of one table have two.
    before: String,
    after: String,
}

impl Operator<'_> {
    /// Exchanges the names of blue and green. The journal says already that it is about to happen.
    fn swap(
        &self,
        migrating: &mut Migrating,
        way: Way,
        seen_up_to: Option<i64>,
        last_look: LastLook<'_>,
    ) -> Result<String, MigrateError> {
        self.command("SYSTEM FLUSH LOGS")?;
        let has_log = self.has_log_of_parts()?;
        let swap = Swap { seen_up_to, ..Swap::new(migrating, way) };
        let swap = if has_log { swap } else { swap.without_log(migrating) };
        self.cut_without_mutations(&swap.live)?;
        self.make_across(migrating, &swap.other)?;
        // INSERTs that go on for long would hold the exchange up: better here, where nothing waits.
        self.wait_for_inserts_in_time()?;
        let cut = Cut {
            since: self.now()?,
            has_log,
            before: of_data(&self.data_of(&swap.live)?),
            after: of_data(&self.data_of(&swap.other)?),
            hold: self.hold([&swap.live, &swap.other])?,
        };
        // Where this fails, merges start when it is settled: until then, parts that are still to be carried
        // must not be merged with those that were.
        let told = self.swap_with_merges_held(migrating, &swap, &cut, last_look)?;
        self.resume_merges(migrating)?;
        failpoint::reached("swap-merges-started");
        Ok(format!("{told}; merges off for {:.2} s", cut.hold.since.elapsed().as_secs_f64()))
    }

    fn swap_with_merges_held(
        &self,
        migrating: &mut Migrating,
        swap: &Swap,
        cut: &Cut,
        last_look: LastLook<'_>,
    ) -> Result<String, MigrateError> {
        let (live, other) = (&swap.live, &swap.other);
        let server_start = self.server_start()?;
        self.cut_without_mutations(live)?;
        self.hold_merges(swap, &cut.hold)?;
        failpoint::reached("swap-merges-held");
        let mut parts = self.cut_parts(live)?;
        if let Some(seen_up_to) = swap.seen_up_to {
            // One that was merged with what came since is told when it is listed again.
            let all = parts.len();
            parts.retain(|part| part.max_block <= seen_up_to);
            if parts.len() < all && !swap.carries {
                return Err(not_clean("a moment without INSERTs, since nothing can be carried"));
            }
        }
        let old = keys(&parts);
        if swap.had_view {
            if !migrating.migration.rows_tell() {
                // Were it taken back, parts alone could tell what was not forwarded meanwhile.
                let (known, since) = (last_block(&parts), Some(cut.since));
                let merge_settings = BTreeMap::new();
                let event = Event::Swapping { known, server_start, since, merge_settings };
                self.record(migrating, event)?;
            }
            self.drop_view(&migrating.migration.view)?;
            failpoint::reached("view-dropped");
            self.wait_for_inserts_of(cut)?;
        }
        let (mut carried, known) = match swap.carries {
            true => self.carry_the_window(migrating, swap, cut, old)?,
            false => (0, 0),
        };
        let there = keys(&self.cut_parts(other)?);
        self.check(&cut.hold, || "an exchange in good time".to_owned())?;
        last_look(migrating)?;
        let merge_settings = self.merge_settings([live, other])?;
        let event = Event::Swapping { known, server_start, since: None, merge_settings };
        self.record(migrating, event)?;
        failpoint::reached("swapping");
        self.stop_merges_by_settings(live)?;
        self.stop_merges_by_settings(other)?;
        // A new one has begun merges before it knew these.
        self.refuse_started_anew(cut.hold.server_start)?;

        self.exchange_tables(live, other)?;
        failpoint::reached("exchanged");
        if swap.carries {
            carried += self.carry_the_rest(migrating, swap)?;
        }
        carried += self.finish_swap(migrating, swap)?;
        failpoint::reached("view-made-anew");
        let mut returned = 0;
        if swap.gets_view && cut.has_log {
            returned = self.return_what_was_missed(migrating, swap, cut, &there)?;
            failpoint::reached("returned");
        }
        Ok(format!("{carried} parts carried across, {returned} back"))
    }

    /// Copies to the other table what came to the readers' one since `old` and was not forwarded. Tells
    /// how many parts, and the last block of which all is there.
    fn carry_the_window(
        &self,
        migrating: &mut Migrating,
        swap: &Swap,
        cut: &Cut,
        old: BTreeSet<String>,
    ) -> Result<(usize, i64), MigrateError> {
        let live = &swap.live;
        let window = self.window_of(live, &old)?;
        let uncaptured = if window.is_empty() || !swap.had_view {
            window.clone()
        } else if cut.has_log {
            // A part is there before its entry is; when its INSERT has ended, both are.
            self.wait_for_inserts_of(cut)?;
            self.not_forwarded(&cut.hold, &window, cut.since, (&cut.before, &cut.after))?
        } else {
            let reason =
                "a moment without INSERTs, since no part_log with table_uuid tells their parts";
            return Err(not_clean(reason));
        };
        let mut carried = uncaptured.len();
        self.copy_across(migrating, swap, &uncaptured)?;
        failpoint::reached("window-carried");
        let mut seen = old;
        seen.extend(keys(&window));
        let mut known = 0;
        for _ in 0..PASSES {
            let parts = self.cut_parts(live)?;
            let newer = newer(&parts, &seen)?;
            self.copy_across(migrating, swap, &newer)?;
            carried += newer.len();
            seen.extend(keys(&newer));
            known = last_block(&parts);
        }
        Ok((carried, known))
    }

    /// Those of the parts that came from INSERTs which wrote nothing to the other table. By conditions on
    /// `part_log` that tell the two.
    fn not_forwarded(
        &self,
        hold: &Hold,
        window: &[CutPart],
        since: u32,
        (written, forwarded): (&str, &str),
    ) -> Result<Vec<CutPart>, MigrateError> {
        if window.is_empty() {
            return Ok(Vec::new());
        }
        let missed = self.uncaptured(hold, &names_of(window), since, written, forwarded)?;
        Ok(window.iter().filter(|part| missed.contains(&part.name)).cloned().collect())
    }

    fn wait_for_inserts_of(&self, cut: &Cut) -> Result<(), MigrateError> {
        self.wait_for_inserts(|running| self.check(&cut.hold, || long_inserts(running)))
    }

    /// Stops the merges of both tables, and waits for the end of those that run.
    fn hold_merges(&self, swap: &Swap, hold: &Hold) -> Result<(), MigrateError> {
        for table in [&swap.live, &swap.other] {
            self.stop_merges(table)?;
        }
        for table in [&swap.live, &swap.other] {
            self.wait_for_merges(table, hold)?;
        }
        Ok(())
    }

    /// Copies back what came to the readers' name since the exchange and was not forwarded by the view,
    /// which is there now. `there` is what was in that table before.
    fn return_what_was_missed(
        &self,
        migrating: &Migrating,
        swap: &Swap,
        cut: &Cut,
        there: &BTreeSet<String>,
    ) -> Result<usize, MigrateError> {
        // Time of its own: what is too late here is found by comparing the rows.
        let hold = self.hold([&swap.live, &swap.other])?;
        let wait = || self.wait_for_inserts(|running| self.check(&hold, || long_inserts(running)));
        wait()?;
        let ours = swapping_of(migrating).map(|it| it.uuids.clone()).unwrap_or_default();
        let mut window = self.window_of(&swap.live, there)?;
        window.retain(|part| !ours.contains(&part.uuid));
        wait()?;
        let of = (cut.after.as_str(), cut.before.as_str());
        let missed = self.not_forwarded(&cut.hold, &window, cut.since, of)?;
        self.copy_back(migrating, swap, &missed)?;
        Ok(missed.len())
    }

    /// The parts that are not among `old`.
    fn window_of(
        &self,
        table: &QualifiedName,
        old: &BTreeSet<String>,
    ) -> Result<Vec<CutPart>, MigrateError> {
        newer(&self.cut_parts(table)?, old)
    }

    /// The last block of a table.
    pub(crate) fn last_block_of(&self, table: &QualifiedName) -> Result<i64, MigrateError> {
        Ok(last_block(&self.cut_parts(table)?))
    }
}

fn keys(parts: &[CutPart]) -> BTreeSet<String> {
    parts.iter().map(CutPart::key).collect()
}

fn names_of(parts: &[CutPart]) -> Vec<String> {
    parts.iter().map(|part| part.name.clone()).collect()
}

fn last_block(parts: &[CutPart]) -> i64 {
    parts.iter().map(|part| part.max_block).max().unwrap_or(0)
}

/// The parts that are not among `old`.
fn newer(parts: &[CutPart], old: &BTreeSet<String>) -> Result<Vec<CutPart>, MigrateError> {
    let newer = parts.iter().filter(|part| !old.contains(&part.key())).cloned().collect::<Vec<_>>();
    refuse_merged(&newer, None)?;
    Ok(newer)
}

/// How far an exchange of this migration got.
fn swapping_of(migrating: &Migrating) -> Option<&Swapping> {
    match &migrating.phase {
        Phase::Verified(state) => state.swapping.as_ref(),
        Phase::CutOver(state) => state.swapping.as_ref(),
        _ => None,
    }
}

/// The migration as it is once the names have changed places, with the looks that were taken before.
fn seen_after(migrating: &Migrating, way: Way) -> Migrating {
    let (green, blue) = match &migrating.phase {
        Phase::Verified(state) => (state.cutover_open.as_ref().map(|it| it.green.clone()), None),
        Phase::CutOver(state) => {
            (Some(state.new_seen.clone()), state.rollback.as_ref().map(|it| it.blue.clone()))
        }
        _ => (None, None),
    };
    let phase = match way {
        Way::Forward => {
            let (green_data, green) = (String::new(), green.unwrap_or_default());
            let opened = Opened { cutover: Cutover::Exchange, green_data, green };
            let forwards_back = migrating.migration.view_runs_back();
            Phase::CutOver(CutOver::new(opened, migrating.since, forwards_back, 0))
        }
        Way::Back => Phase::Backfilled(Backfilled { rows: 0, rolled_back: true, rest: true }),
    };
    let seen = blue.or_else(|| migrating.seen.clone());
    Migrating { phase, seen, ..migrating.clone() }
}
