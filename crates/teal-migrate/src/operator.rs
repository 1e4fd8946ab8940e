use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;
use teal_catalog::{Catalog, SCRATCH_PREFIX, exists};
use teal_client::{ClientError, GateClosing, Server, Session, TEAL_LOG_COMMENT};
use teal_plan::{Cutover, Migration};
use teal_schema::{QualifiedName, quote_ident, quote_string, quoted_list};

use crate::cutover::swap::Way;
use crate::fence::Look;
use crate::journal::phase::{CutOver, Phase, Verified};
use crate::journal::state::Migrating;
use crate::lock::live::{Board, Teller};
use crate::names::TEAL_DATABASE;
use crate::repair::stale::shortened;
use crate::requests::Requests;
use crate::statements::dropped;
use crate::{
    BackfillOptions, Entry, Event, Interrupt, Journal, Leave, Limits, Lock, LockError,
    MigrateError, Observer, Parity, Step, Update, failpoint, names,
};

/// Works on the migrations of one target. It holds the target's lock while it lives, and has set
/// right what a process before it left half done.
pub struct Operator<'a> {
    pub(crate) server: &'a dyn Server,
    pub(crate) observer: Teller<'a>,
    pub(crate) options: OperatorOptions,
    pub(crate) journal: Journal,
    pub(crate) requests: Arc<Requests>,
    board: Option<Board>,
    control: Mutex<Box<dyn Session>>,
    lock: Arc<Lock>,
    /// The migrations of which something is still open that a process before has begun.
    unhealed: Mutex<BTreeSet<String>>,
}

#[derive(Debug, Clone)]
pub struct OperatorOptions {
    /// How long the gate holds new INSERTs for the running ones to end, before it opens again and
    /// the cut is tried later.
    pub gate_patience: Duration,
    /// How long cuts are tried before the command gives up.
    pub fence_timeout: Duration,
    /// On a server: after this time the lock of a teal that was killed is free.
    pub lease: Duration,
    pub backfill: BackfillOptions,
    /// The limits of the project, and those that this command was given.
    pub limits: Limits,
    pub given_limits: Limits,
    /// Ends what [`Operator::apply`] does.
    pub interrupt: Interrupt,
    /// For how long the old table is kept after a cutover, at least.
    pub retention: Duration,
    /// For how long a cleanup puts the old table aside before it is dropped; else it drops it at once.
    pub park: Option<Duration>,
    /// The clock that the retention is counted by.
    pub now: fn() -> Timestamp,
}

impl Default for OperatorOptions {
    fn default() -> Self {
        Self {
            gate_patience: Duration::from_secs(2),
            fence_timeout: Duration::from_secs(60),
            lease: Duration::from_secs(60),
            backfill: BackfillOptions::default(),
            limits: Limits::default(),
            given_limits: Limits::default(),
            interrupt: Interrupt::default(),
            retention: Duration::ZERO,
            park: None,
            now: Timestamp::now,
        }
    }
}

/// How far to take a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Green holds all rows, and the view keeps it in step.
    Backfilled,
    /// And parity was proven.
    Verified,
}

/// The write gate, closed.
pub(crate) struct Closed<'a> {
    closing: GateClosing<'a>,
    attempts: u32,
    since: Instant,
}

impl Closed<'_> {
    /// Opens the gate, and tells how long it held INSERTs.
    pub(crate) fn open(self) -> String {
        drop(self.closing);
        format!("INSERTs held for {:.1} ms", self.since.elapsed().as_secs_f64() * 1e3)
    }
}

/// What was done with the gate closed.
pub(crate) struct Cut<T> {
    pub(crate) value: T,
    /// How often the gate had to be tried.
    pub(crate) attempts: u32,
    /// How long INSERTs were held, for the outcome of a step.
    pub(crate) held: String,
}

impl<'a> Operator<'a> {
    /// Takes the target's lock and undoes or finishes what a process before left in the middle.
    ///
    /// # Errors
    /// When the lock is held, the journal is corrupt, or the server refuses.
    pub fn open(
        server: &'a dyn Server,
        options: OperatorOptions,
        observer: &'a dyn Observer,
    ) -> Result<Self, MigrateError> {
        // The lock first: nothing is read that another could be changing.
        let lock = Arc::new(Lock::take(server, options.lease)?);
        let mut control = server.session(&[])?;
        // Were this process suspended until another teal took the lock, the KILL below would hit the statements of that one.
        lock.check()?;
        let observer = Teller::new(observer, Arc::clone(&lock));
        end_statements_of_the_dead(server, control.as_mut(), &observer)?;
        let journal = Journal::open(server, Arc::clone(&lock))?;
        let control = Mutex::new(control);
        let requests = Arc::new(Requests::open(server, options.limits, options.given_limits)?);
        let board = hang_board(server, &observer, &requests, &journal)?;
        let operator = Self {
            server,
            observer,
            options,
            journal,
            requests,
            board,
            control,
            lock,
            unhealed: Mutex::default(),
        };
        for mut migrating in operator.migrations()? {
            let healed = operator.heal(&mut migrating, Look::Short).and_then(|()| match migrating
                .phase
                .is_over()
            {
                true => Ok(()),
                // Clones of both tables, which a comparison that was cut off has left.
                false => operator.drop_own_tables(&migrating, names::CLONE),
            });
            match healed {
                // Who works on another table need not wait for it.
                Err(error) if error.is_of_one_migration() => {
                    let what = format!("{}: {error}", migrating.migration.green);
                    operator.observer.update(Update::Warning { what });
                    operator.unhealed.lock().insert(migrating.id.clone());
                }
                other => other?,
            }
        }
        Ok(operator)
    }

    /// Undoes or finishes what could not be when the operator was opened, before anything else is done.
    ///
    /// # Errors
    /// What stood in its way then, if it does still.
    pub fn heal_at_last(&self, migrating: &mut Migrating) -> Result<(), MigrateError> {
        if self.unhealed.lock().contains(&migrating.id) {
            self.heal(migrating, Look::Full)?;
            self.healed(migrating);
        }
        Ok(())
    }

    pub(crate) fn healed(&self, migrating: &Migrating) {
        self.unhealed.lock().remove(&migrating.id);
    }

    /// All migrations of the target, the oldest first.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn migrations(&self) -> Result<Vec<Migrating>, MigrateError> {
        Ok(Migrating::all(&self.journal.read()?)?)
    }

    /// Enters a new migration into the journal.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn start(&self, migration: Migration) -> Result<Migrating, MigrateError> {
        let now = self.lock.by_server(Timestamp::now()).strftime("%Y%m%d%H%M%S");
        let mut id = format!("{}_{now}", names::stem(&migration.green.name));
        // Two migrations to one green within a second: the first was aborted.
        let taken = self.journal.read()?;
        while taken.contains_key(&id) {
            id.push('b');
        }
        self.check_lock()?;
        let (mut migrating, entries) = Migrating::start(&self.journal, &id, migration)?;
        self.tell(entries);
        failpoint::reached("started");
        let defined = self.definitions_to_record(&migrating)?;
        self.record_all(&mut migrating, Vec::from_iter(defined))?;
        Ok(migrating)
    }

    /// Takes a migration from wherever it is to `goal`. Does nothing when it is there already. While
    /// it is paused, this waits; an abort that was asked for is done.
    ///
    /// # Errors
    /// What stopped it; the journal says where, and the next call goes on from there.
    pub fn advance(&self, migrating: &mut Migrating, goal: Goal) -> Result<(), MigrateError> {
        match self.take_steps(migrating, goal) {
            Err(MigrateError::AbortAsked { by, force }) => {
                self.abort(migrating, force)?;
                let green = migrating.migration.green.clone();
                Err(MigrateError::AbortedOnRequest { green, by })
            }
            other => other,
        }
    }

    fn take_steps(&self, migrating: &mut Migrating, goal: Goal) -> Result<(), MigrateError> {
        self.heal_at_last(migrating)?;
        let (first, settled) = (migrating.next, migrating.settled);
        loop {
            if has_step(&migrating.phase, goal) {
                self.wait_while_paused(migrating)?;
            }
            match migrating.phase.clone() {
                Phase::Started(state) => self.prepare(migrating, state)?,
                Phase::Prepared(state) => self.attach(migrating, state)?,
                Phase::Attached(state) => self.backfill(migrating, &state)?,
                Phase::Backfilled(_) if goal == Goal::Verified => {
                    self.verify_or_repair(migrating)?;
                }
                // An abort that was asked for during the last step is done still.
                _ if migrating.next > first => {
                    return self.asked(&migrating.id, settled, Duration::ZERO).map(drop);
                }
                _ => return Ok(()),
            }
        }
    }

    /// Proves parity. Where green lacks rows (the server died in the middle of an INSERT, between blue
    /// and the view) or has some that blue has lost since (to a mutation, say), it is repaired first.
    /// While blue is being changed, that may take several rounds.
    pub(crate) fn verify_or_repair(&self, migrating: &mut Migrating) -> Result<(), MigrateError> {
        const ROUNDS: u32 = 3;
        let mut round = 0;
        loop {
            match self.prove(migrating) {
                Err(MigrateError::NoParity { .. })
                    if round < ROUNDS && self.can_repair(migrating) =>
                {
                    round += 1;
                    self.repair(migrating, Leave::ByCause)?;
                }
                other => return other.map(drop),
            }
        }
    }

    /// Proves parity of two tables that nobody is changing, and takes down how blue was then.
    ///
    /// # Errors
    /// [`MigrateError::NoParity`] when they differ; what stopped the comparison.
    pub fn prove(&self, migrating: &mut Migrating) -> Result<Parity, MigrateError> {
        self.heal_at_last(migrating)?;
        self.refuse_altered(migrating)?;
        self.settle_removal(migrating)?;
        self.wait_for_mutations(migrating)?;
        self.verify(migrating)
    }

    fn heal(&self, migrating: &mut Migrating, look: Look) -> Result<(), MigrateError> {
        match &migrating.phase {
            Phase::Prepared(state) if state.fence_open => match self.heal_fence(migrating, look) {
                // Who goes on with it is refused, and not who works on another table.
                Err(MigrateError::WrittenToGreen { .. }) => Ok(()),
                other => other,
            },
            // A crash during a publication or just after it leaves green without merges.
            Phase::Attached(state) if state.snapshot.is_some() => {
                if let Err(error) = self.refuse_altered(migrating) {
                    match state.publishing {
                        // The backfill finishes it when it goes on. An abort need not.
                        Some(_) => self.warn_of_merges(migrating),
                        None => self.restore_merges_unless_late(migrating)?,
                    }
                    return match error {
                        // The backfill refuses it.
                        MigrateError::Altered { .. } => Ok(()),
                        other => Err(other),
                    };
                }
                self.finish_publication(migrating)?;
                self.restore_merges_unless_late(migrating)
            }
            // The snapshot goes after the entry that says that it is not needed any more.
            Phase::Backfilled(_) => Ok(self.drop_table(&names::snapshot(&migrating.id))?),
            Phase::CutOver(CutOver { turn_open: Some(forwards_back), .. }) => {
                self.settle_turn(migrating, *forwards_back)
            }
            Phase::CutOver(state) if state.rollback.is_some() => match state.cutover {
                Cutover::Alias => self.settle_alias(migrating, Way::Back),
                _ => self.settle_rollback(migrating),
            },
            Phase::Verified(Verified { cutover_open: Some(open), .. }) => match open.cutover {
                Cutover::Alias => self.settle_alias(migrating, Way::Forward),
                _ => self.settle_exchange(migrating),
            },
            Phase::CutOver(state) if state.cleanup.is_some() => {
                self.finish_cleanup(migrating, false)
            }
            Phase::Aborting(_) => self.finish_abort(migrating, false),
            _ => Ok(()),
        }
    }

    /// Runs `work` as a step that the observer sees begin and end.
    pub(crate) fn step<T>(
        &self,
        migrating: &mut Migrating,
        step: Step,
        work: impl FnOnce(&mut Migrating) -> Result<(T, String), MigrateError>,
    ) -> Result<T, MigrateError> {
        self.server.refuse_several()?;
        let name = migrating.migration.green.to_string();
        let began = Instant::now();
        self.observer.update(Update::Began { migration: &name, step });
        let (value, outcome) = work(migrating)?;
        let took = began.elapsed();
        self.observer.update(Update::Ended { migration: &name, step, took, outcome });
        Ok(value)
    }

    pub(crate) fn record(
        &self,
        migrating: &mut Migrating,
        event: Event,
    ) -> Result<(), MigrateError> {
        self.record_all(migrating, vec![event])
    }

    /// All of them or, after a crash, none.
    pub(crate) fn record_all(
        &self,
        migrating: &mut Migrating,
        events: Vec<Event>,
    ) -> Result<(), MigrateError> {
        self.check_lock()?;
        failpoint::reached("recording");
        self.tell(migrating.record(&self.journal, events)?);
        Ok(())
    }

    /// Lets `status` of another process know of entries of the journal that it cannot read.
    fn tell(&self, entries: Vec<Entry>) {
        if let Some(board) = &self.board {
            entries.into_iter().for_each(|entry| board.add(entry));
        }
    }

    /// Ends what this process, or one before it, has sent to the server and had no answer to.
    pub(crate) fn end_own_statements(&self) -> Result<(), MigrateError> {
        let mut control = self.control.lock();
        self.check_lock()?;
        end_statements_of_the_dead(self.server, control.as_mut(), &self.observer)
    }

    /// When something failed such that the next command has to set it right, and merges may be held back until then.
    pub(crate) fn warn_of_merges(&self, migrating: &Migrating) {
        let Migration { blue, green, .. } = &migrating.migration;
        let what = format!(
            "a step is left open, and merges of {blue} and {green} may be held back, until the next command on this migration sets it right: run one soon (`teal apply`, or `teal abort`)"
        );
        self.observer.update(Update::Warning { what });
    }

    /// To be asked before every write.
    pub(crate) fn check_lock(&self) -> Result<(), MigrateError> {
        // First: on another server a lock is not found, and counts as lost.
        self.server.refuse_several()?;
        Ok(self.lock.check()?)
    }

    /// Runs one statement of the control session, while the lock is held.
    pub(crate) fn command(&self, sql: &str) -> Result<(), MigrateError> {
        self.run(sql, |_| self.lock.check())
    }

    /// For the RENAME, EXCHANGE or DROP of what users know: asks the server before that the lock is still ours, for
    /// nobody undoes it where another teal has taken the lock over. (What is attached, truncated or altered, comes between
    /// two entries of the journal, which ask the same, or a proof finds it.)
    pub(crate) fn command_for_good(&self, sql: &str) -> Result<(), MigrateError> {
        self.run(sql, |session| self.lock.ask(session))
    }

    fn run(
        &self,
        sql: &str,
        look: impl FnOnce(&mut dyn Session) -> Result<(), LockError>,
    ) -> Result<(), MigrateError> {
        self.server.refuse_several()?;
        // What waits here for another statement may wait for longer than the lock is held.
        let mut control = self.control.lock();
        look(control.as_mut())?;
        control.command(sql)?;
        drop(control);
        failpoint::written();
        Ok(())
    }

    /// The time that the retention is counted by, by the server's clock.
    pub(crate) fn time(&self) -> Timestamp {
        self.lock.by_server((self.options.now)())
    }

    pub(crate) fn with_control<T>(&self, work: impl FnOnce(&mut dyn Session) -> T) -> T {
        work(self.control.lock().as_mut())
    }

    /// What the target has of these.
    pub(crate) fn catalog_of(&self, tables: &[&QualifiedName]) -> Result<Catalog, MigrateError> {
        Ok(self.with_control(|session| Catalog::of(session, tables))?)
    }

    /// Whether there is a table or view of this name.
    ///
    /// # Errors
    /// When the target cannot be asked.
    pub fn exists(&self, name: &QualifiedName) -> Result<bool, MigrateError> {
        Ok(self.with_control(|session| exists(session, name))?)
    }

    /// The tables and views of a database of which this holds.
    pub(crate) fn named(
        &self,
        database: &str,
        condition: &str,
    ) -> Result<Vec<QualifiedName>, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            name: String,
        }
        let rows = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT name FROM system.tables WHERE database = {} AND {condition} ORDER BY name",
                quote_string(database)
            ))
        })?;
        Ok(rows.into_iter().map(|row| QualifiedName::new(database, row.name)).collect())
    }

    /// Does `cut` with the write gate closed.
    pub(crate) fn with_gate_closed<T>(
        &self,
        cut: impl FnOnce() -> Result<T, MigrateError>,
    ) -> Result<Cut<T>, MigrateError> {
        let closed = self.close_gate()?;
        let value = cut()?;
        let attempts = closed.attempts;
        Ok(Cut { value, attempts, held: closed.open() })
    }

    /// Closes the write gate: no INSERT runs until it is opened or dropped, and what earlier ones
    /// wrote is in parts.
    pub(crate) fn close_gate(&self) -> Result<Closed<'_>, MigrateError> {
        let (closing, attempts) = self.try_to_close_gate()?;
        // Only the embedded engine has a gate, and it has no queue of asynchronous INSERTs (26.7).
        Ok(Closed { closing, attempts, since: Instant::now() })
    }

    /// Tries until it worked or the fence's time is over.
    fn try_to_close_gate(&self) -> Result<(GateClosing<'_>, u32), MigrateError> {
        /// Between two tries, so that the users' INSERTs get through.
        const PAUSE: Duration = Duration::from_millis(500);
        let gate = self.server.write_gate().ok_or(MigrateError::NoWriteGate)?;
        let began = Instant::now();
        let mut attempts = 1;
        loop {
            match gate.close(self.options.gate_patience) {
                Ok(closing) => return Ok((closing, attempts)),
                Err(timeout) if began.elapsed() > self.options.fence_timeout => {
                    return Err(MigrateError::FenceTimeout {
                        waited: began.elapsed(),
                        patience: timeout.patience,
                        reason: self.long_writes(timeout.running)?,
                    });
                }
                Err(timeout) => {
                    self.refuse_interrupted()?;
                    attempts += 1;
                    let reason = self.long_writes(timeout.running)?;
                    self.observer.update(Update::Waiting { reason });
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }
}

/// Whether [`Operator::advance`] has something left to do.
fn has_step(phase: &Phase, goal: Goal) -> bool {
    match phase {
        Phase::Started(_) | Phase::Prepared(_) | Phase::Attached(_) => true,
        Phase::Backfilled(_) => goal == Goal::Verified,
        _ => false,
    }
}

/// Where no other process can read the journal meanwhile, it is shown beside the data.
fn hang_board(
    server: &dyn Server,
    teller: &Teller<'_>,
    requests: &Arc<Requests>,
    journal: &Journal,
) -> Result<Option<Board>, MigrateError> {
    let Some(data) = server.exclusive_directory() else {
        return Ok(None);
    };
    match Board::hang(data, teller, Arc::clone(requests), journal.read()?) {
        Ok(board) => Ok(Some(board)),
        Err(error) => {
            let beside = data.display();
            let what = format!(
                "nothing can be written beside {beside} ({error}): `teal status` of another terminal will not see this migration"
            );
            teller.update(Update::Warning { what });
            Ok(None)
        }
    }
}

/// On a server, a statement goes on when the teal that sent it was killed. Who holds the lock is the
/// only one to write, so what else of teal's is writing is of one that has ended: a copy into a staging
/// table, which would otherwise come to its end beside the next one.
fn end_statements_of_the_dead(
    server: &dyn Server,
    session: &mut dyn Session,
    teller: &Teller<'_>,
) -> Result<(), MigrateError> {
    /// Between two looks whether they have ended.
    const LOOK: Duration = Duration::from_millis(20);
    #[derive(Deserialize)]
    struct Row {
        query_id: String,
        query: String,
    }
    if server.is_exclusive() {
        return Ok(());
    }
    server.refuse_several()?;
    // Plans of others make their shadows meanwhile. With SYNC the server would wait for them, and say nothing.
    let mut running = session.rows::<Row>(&format!(
        "KILL QUERY WHERE (Settings['log_comment'] = {own} OR startsWith(Settings['log_comment'], {copy})) \
             AND query_kind IN ('Insert', 'Alter', 'Rename', 'Drop', 'Create', 'System') \
             AND position(query, '{SCRATCH_PREFIX}') = 0 AND query_id != queryID() ASYNC",
        own = quote_string(TEAL_LOG_COMMENT),
        copy = quote_string(&format!("{TEAL_LOG_COMMENT} backfill of "))
    ))?;
    let mut waiting = teller.wait();
    while !running.is_empty() {
        let ids = quoted_list(running.iter().map(|row| &row.query_id));
        running = session.rows(&format!(
            "SELECT query_id, query FROM system.processes WHERE query_id IN ({ids})"
        ))?;
        let there = own_tables(session)?;
        running.retain(|row| !is_dropped(&row.query, &there));
        if let Some(row) = running.first() {
            waiting.tell(|| {
                let query = shortened(&row.query);
                format!("the end of a statement that an earlier teal sent: {query}")
            });
            std::thread::sleep(LOOK);
        }
    }
    Ok(())
}

/// Whether the statement drops one of teal's own tables that is gone: it does no more than wait for those who read
/// it, past every `KILL`.
fn is_dropped(query: &str, there: &[QualifiedName]) -> bool {
    query.contains(&format!("DROP TABLE IF EXISTS {}.", quote_ident(TEAL_DATABASE)))
        && !there.iter().any(|table| query.contains(&dropped(table)))
}

fn own_tables(session: &mut dyn Session) -> Result<Vec<QualifiedName>, ClientError> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
    }
    let rows = session.rows::<Row>(&format!(
        "SELECT name FROM system.tables WHERE database = {}",
        quote_string(TEAL_DATABASE)
    ))?;
    Ok(rows.into_iter().map(|row| QualifiedName::new(TEAL_DATABASE, row.name)).collect())
}
