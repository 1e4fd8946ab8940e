//! One operator at a time. The lock is a table `_teal.lock_<generation>`, because `CREATE TABLE`
//! is the one statement of every server that only one of two can win.
//!
//! The table of the highest generation is the lock. Released, it stays, marked so, that no one who
//! read the list before can win an older generation; the next owner drops it.
//!
//! The interleaving to fear: A lists generation 5, released. B takes 6, works, releases it. C takes
//! 7 and drops 5 and 6. A now creates 6, which works. So A looks again after its `CREATE`: 7 is
//! higher, A drops its 6 and is told that the lock is held.
//!
//! On a server the owner's death cannot be seen from another machine, so there a lock is a lease: its
//! owner renews it, and who finds it run out takes the next generation. An owner that could not renew in time (a
//! suspended laptop, a cut network) finds that out before its next write, by [`Lock::check`], from
//! its own clock, which goes on while the machine is suspended: it gives up earlier than another may begin.
//!
//! A virtual machine that its host pauses does not know that it was, and its clock has stood still. So the
//! server itself takes no entry into the journal from an owner of before ([`Lock::still_ours`]), and is asked
//! once more before a name is given up or changes hands ([`Lock::ask`]).

pub(crate) mod live;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use teal_client::{ClientError, Server, Session, since_boot};
use teal_schema::{QualifiedName, quote_string};

use crate::names::TEAL_DATABASE;
use crate::{Live, failpoint, names};

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(
        "another teal works on this target: {holder}. Wait for its end; a lock whose owner was killed is free at once on its own machine, and elsewhere when its lease is over ({lock})"
    )]
    Held { holder: String, lock: QualifiedName },
    #[error(
        "the lock {lock} could not be renewed for {} s, or another teal has taken it over and works here; this one stops. Run the command again",
        .silent.as_secs()
    )]
    Lost { lock: QualifiedName, silent: Duration },
    #[error("cannot write or read what the lock says: {0}")]
    Unwritable(#[from] serde_json::Error),
}

impl LockError {
    /// Another has the target.
    pub fn is_another_at_work(&self) -> bool {
        matches!(self, Self::Held { .. } | Self::Lost { .. })
    }

    /// Whether teal could go on and will not, for the sake of the data.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Client(error) => error.is_refusal(),
            other => other.is_another_at_work(),
        }
    }
}

/// After half of a lease without renewal its owner stops. What it had sent just before may still run
/// for the other half.
const GIVE_UP: u32 = 2;

/// What a process sends to a server on the same machine or network has arrived after that.
const ON_ITS_WAY: Duration = Duration::from_millis(250);

/// How often a lease is renewed in its time.
const RENEWALS: u32 = 12;

/// After this share of a lease without renewal, the server is taken for silent: its owner does not wait for it to
/// take the lock back.
const SILENT: u32 = 4;

/// Leave to work on a target. Released when dropped.
pub struct Lock {
    held: Arc<Held>,
    /// Where the lock is a lease.
    renewal: Option<Renewal>,
}

/// The thread that renews a lease. It ends when `wake` is dropped.
struct Renewal {
    /// What it is sent has it renew the lease at once.
    wake: Sender<()>,
    thread: JoinHandle<()>,
}

struct Held {
    /// Behind a mutex only so that who holds the lock can be shared between threads.
    session: Mutex<Box<dyn Session>>,
    generation: u64,
    owner: Owner,
    lease: Duration,
    /// By how much the server's clock is ahead of this machine's; nothing where they are one.
    ahead: SignedDuration,
    /// By [`since_boot`].
    renewed: Mutex<Duration>,
    /// A renewal found that another has taken it.
    is_lost: AtomicBool,
    /// What its owner does, for others to read.
    says: Mutex<Option<Live>>,
}

/// Who holds a lock; the comment of its table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    host: String,
    pid: u32,
    /// The boot of the machine and the process's namespace: where a pid means one process.
    #[serde(default)]
    machine: Option<String>,
    /// Tells this process from any other, also from a later one of the same pid.
    instance: String,
    released: bool,
    /// By the server's clock, in milliseconds; nothing where the owner's death can be seen.
    #[serde(default)]
    until: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    says: Option<Live>,
}

impl Lock {
    /// `lease` is the time after which the lock of a server is free, when its owner does not renew it.
    ///
    /// # Errors
    /// When someone else holds it, or the server refuses.
    pub fn take(server: &dyn Server, lease: Duration) -> Result<Self, LockError> {
        let held = Arc::new(Held::claim(server, lease)?);
        let renewal = (!server.is_exclusive()).then(|| Renewal::start(&held));
        Ok(Self { held, renewal })
    }

    /// What a teal that holds the lock of a server says that it does; `None` where none works. Reads
    /// only.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn peek(server: &dyn Server) -> Result<Option<Live>, LockError> {
        if server.is_exclusive() {
            // Nobody else can be at work there.
            return Ok(None);
        }
        let mut session = server.session(&[])?;
        let now = server_time(session.as_mut())?;
        let last = list(session.as_mut())?.pop().map(|(_, owner)| owner);
        let working = last.filter(|owner| !owner.released && !is_dead(owner, now));
        Ok(working.map(|owner| match owner.says {
            Some(live) => live,
            None => Live { host: owner.host, process: owner.pid, ..Live::new() },
        }))
    }

    /// Lets others read with the lock what its owner does, soon.
    pub(crate) fn tell(&self, live: Live) {
        self.tell_later(live);
        if let Some(renewal) = &self.renewal {
            // Where the thread has ended, the lock is not ours any more, and `check` says so.
            let _ = renewal.wake.send(());
        }
    }

    /// With the next renewal.
    pub(crate) fn tell_later(&self, live: Live) {
        *self.held.says.lock() = Some(live);
    }

    /// Whether the lock is still held. To be asked before every write.
    ///
    /// # Errors
    /// When another has it, or it could not be renewed for so long that another may take it.
    pub fn check(&self) -> Result<(), LockError> {
        let is_lost = self.held.is_lost.load(Ordering::SeqCst);
        let is_late = self.held.silent() > self.held.lease / GIVE_UP;
        match self.renewal.is_some() && (is_lost || is_late) {
            true => Err(self.held.lost()),
            false => Ok(()),
        }
    }

    /// As [`check`](Self::check), and asks the server too, where it is a lease.
    pub(crate) fn ask(&self, session: &mut dyn Session) -> Result<(), LockError> {
        #[derive(Deserialize)]
        struct Row {
            is_ours: u8,
        }
        self.check()?;
        let Some(is_ours) = self.still_ours() else {
            return Ok(());
        };
        match session.row(&format!("SELECT {is_ours} AS is_ours"))? {
            Row { is_ours: 0 } => Err(self.lost()),
            Row { .. } => Ok(()),
        }
    }

    /// The condition that nobody has taken a later generation, for the server; nothing where it is no lease.
    pub(crate) fn still_ours(&self) -> Option<String> {
        self.renewal.as_ref()?;
        Some(format!(
            "(SELECT max(toUInt64OrZero(substring(name, 6))) FROM system.tables WHERE {}) = {}",
            is_lock(),
            self.held.generation
        ))
    }

    /// The server has said that another has it.
    pub(crate) fn lost(&self) -> LockError {
        self.held.is_lost.store(true, Ordering::SeqCst);
        self.held.lost()
    }

    /// A time of this machine by the server's clock, which is the same for all who work there.
    pub(crate) fn by_server(&self, time: Timestamp) -> Timestamp {
        // Times that a test makes up are as far away as can be.
        time.saturating_add(self.held.ahead).unwrap_or(time)
    }
}

impl Held {
    /// Makes the lock of the next generation, where nobody has that of the last one.
    fn claim(server: &dyn Server, lease: Duration) -> Result<Self, LockError> {
        let mut session = server.session(&[])?;
        names::make_database(session.as_mut())?;
        // Before the server's clock: the others count from that.
        let renewed = since_boot();
        let now = server_time(session.as_mut())?;
        let is_lease = !server.is_exclusive();
        let ahead = if is_lease { ahead_by(now) } else { SignedDuration::ZERO };
        let before = list(session.as_mut())?;
        let generation = match before.last() {
            Some((generation, owner)) => {
                if !owner.released && !is_dead(owner, now) {
                    return Err(held(*generation, owner));
                }
                if !owner.released && is_lease {
                    // What it had sent just before is on its way.
                    std::thread::sleep(ON_ITS_WAY);
                }
                generation + 1
            }
            None => 1,
        };
        failpoint::reached("locks-listed");
        let owner = Owner { until: is_lease.then(|| end_of(lease, now)), ..Owner::this_process() };
        let created = session.command(&format!(
            "CREATE TABLE {} (nothing UInt8) ENGINE = Memory COMMENT {}",
            table(generation).sql(),
            quote_string(&serde_json::to_string(&owner)?)
        ));
        match created {
            Ok(_) => failpoint::written(),
            Err(error) if error.server_name() == Some("TABLE_ALREADY_EXISTS") => {
                return Err(held_by_another(session.as_mut(), generation)?);
            }
            Err(error) => return Err(error.into()),
        }
        failpoint::reached("lock-made");
        let after = list(session.as_mut())?;
        if after.last().is_some_and(|(highest, _)| *highest > generation) {
            let error = held_by_another(session.as_mut(), generation)?;
            session.command(&format!("DROP TABLE IF EXISTS {}", table(generation).sql()))?;
            return Err(error);
        }
        // An owner that was silent may have come back meanwhile. It marks its lock, and then looks whether there is
        // a later one: if it did not see this one, its mark came before, and is seen here.
        let now = server_time(session.as_mut())?;
        let back = after
            .iter()
            .find(|(other, owner)| *other < generation && !owner.released && !is_dead(owner, now));
        if let Some((other, owner)) = back {
            let error = held(*other, owner);
            session.command(&format!("DROP TABLE IF EXISTS {}", table(generation).sql()))?;
            return Err(error);
        }
        for (older, _) in after.iter().filter(|(other, _)| *other < generation) {
            session.command(&format!("DROP TABLE IF EXISTS {}", table(*older).sql()))?;
            failpoint::written();
        }
        Ok(Self {
            session: Mutex::new(session),
            generation,
            owner,
            lease,
            ahead,
            renewed: Mutex::new(renewed),
            is_lost: AtomicBool::new(false),
            says: Mutex::new(None),
        })
    }

    /// For how long it was not renewed.
    fn silent(&self) -> Duration {
        since_boot().saturating_sub(*self.renewed.lock())
    }

    fn lost(&self) -> LockError {
        LockError::Lost { lock: table(self.generation), silent: self.silent() }
    }

    /// Says whether the lock is still ours.
    fn renew(&self) -> Result<bool, LockError> {
        let began = since_boot();
        let mut session = self.session.lock();
        let now = server_time(session.as_mut())?;
        let says = self.says.lock().clone();
        // However long a step has nothing to say, it is still at it.
        let told = Timestamp::from_millisecond(i64::try_from(now).unwrap_or(i64::MAX));
        let told = told.unwrap_or_else(|_| Timestamp::now());
        let says = says.map(|live| Live { told, ..live });
        let owner = Owner { until: Some(end_of(self.lease, now)), says, ..self.owner.clone() };
        match mark(session.as_mut(), self.generation, &owner) {
            // Another has taken a later one, and dropped this.
            Err(LockError::Client(error)) if error.server_name() == Some("UNKNOWN_TABLE") => {
                return Ok(false);
            }
            other => other?,
        }
        // In this order: see `claim`.
        let highest = list(session.as_mut())?.last().map(|(generation, _)| *generation);
        if highest != Some(self.generation) {
            return Ok(false);
        }
        *self.renewed.lock() = began;
        Ok(true)
    }
}

impl Renewal {
    fn start(held: &Arc<Held>) -> Self {
        let (wake, woken) = channel();
        let held = Arc::clone(held);
        let thread = std::thread::spawn(move || {
            let pause = held.lease / RENEWALS;
            while woken.recv_timeout(pause) != Err(RecvTimeoutError::Disconnected) {
                // Several words at once are one renewal.
                while woken.try_recv().is_ok() {}
                // One that fails is followed by another; `check` counts the time.
                if held.renew().is_ok_and(|is_ours| !is_ours) {
                    held.is_lost.store(true, Ordering::SeqCst);
                    break;
                }
            }
        });
        Self { wake, thread }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(Renewal { wake, thread }) = self.renewal.take() {
            drop(wake);
            // Behind a server that does not answer, or a lock that was taken over, there is nothing to wait for: it
            // runs out by itself.
            let is_lost = self.held.is_lost.load(Ordering::SeqCst);
            if is_lost || self.held.silent() > self.held.lease / SILENT {
                return;
            }
            // A panic there has been said already.
            let _ = thread.join();
        }
        let owner = Owner { released: true, ..self.held.owner.clone() };
        // Should this fail, the next one finds a lock whose owner has ended.
        let _ = mark(self.held.session.lock().as_mut(), self.held.generation, &owner);
    }
}

/// Writes the owner to the lock's table, if it is there.
fn mark(session: &mut dyn Session, generation: u64, owner: &Owner) -> Result<(), LockError> {
    session.command(&format!(
        "ALTER TABLE {} MODIFY COMMENT {}",
        table(generation).sql(),
        quote_string(&serde_json::to_string(owner)?)
    ))?;
    // Not `written`: most renewals come from a thread of their own, and would shift the numbers of the others.
    failpoint::reached("lock-marked");
    Ok(())
}

/// In milliseconds.
fn server_time(session: &mut dyn Session) -> Result<u64, ClientError> {
    #[derive(Deserialize)]
    struct Row {
        now: u64,
    }
    let row: Row = session.row("SELECT toUInt64(toUnixTimestamp64Milli(now64(3))) AS now")?;
    Ok(row.now)
}

/// The time by which the journal's entries are noted.
pub(crate) fn time_of(server: &dyn Server) -> Result<Timestamp, ClientError> {
    if server.is_exclusive() {
        return Ok(Timestamp::now());
    }
    let ahead = ahead_by(server_time(server.session(&[])?.as_mut())?);
    Ok(Timestamp::now().saturating_add(ahead).unwrap_or(Timestamp::MAX))
}

/// By how much a clock that says `now` is ahead of this machine's.
fn ahead_by(now: u64) -> SignedDuration {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    SignedDuration::from_millis(now.saturating_sub(Timestamp::now().as_millisecond()))
}

fn end_of(lease: Duration, now: u64) -> u64 {
    now.saturating_add(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX))
}

impl Owner {
    fn this_process() -> Self {
        static INSTANCE: OnceLock<String> = OnceLock::new();
        let host = names::this_host();
        let instance = INSTANCE.get_or_init(|| uuid::Uuid::new_v4().to_string()).clone();
        let (pid, machine) = (std::process::id(), this_machine());
        Self { host, pid, machine, instance, released: false, until: None, says: None }
    }

    /// Whether the owner was a process of this machine that is not there any more.
    fn is_gone(&self) -> bool {
        let is_here = self.machine.is_some() && self.machine == this_machine();
        is_here && !is_running(self.pid)
    }
}

/// Another user's process is there too, though not every `/proc` shows it.
fn is_running(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

fn this_machine() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// One without a lease had the data open by the embedded engine, as no other process can meanwhile: it has ended, also
/// where a server has the data now. Elsewhere it counts as ended when its lease has run out, or when this machine
/// knows that it has.
fn is_dead(owner: &Owner, now: u64) -> bool {
    match owner.until {
        Some(until) => until < now || owner.is_gone(),
        None => owner.instance != Owner::this_process().instance,
    }
}

/// The condition on `system.tables` that it is a lock.
fn is_lock() -> String {
    format!("database = {} AND match(name, '^lock_[0-9]+$')", quote_string(TEAL_DATABASE))
}

fn table(generation: u64) -> QualifiedName {
    QualifiedName::new(TEAL_DATABASE, format!("lock_{generation}"))
}

/// All generations that are there, the highest last.
fn list(session: &mut dyn Session) -> Result<Vec<(u64, Owner)>, LockError> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
        comment: String,
    }
    let query = format!("SELECT name, comment FROM system.tables WHERE {}", is_lock());
    let rows = session.rows::<Row>(&query)?;
    let mut locks = Vec::new();
    for row in rows {
        if let Some(generation) = row.name.strip_prefix("lock_").and_then(|n| n.parse().ok()) {
            locks.push((generation, serde_json::from_str(&row.comment)?));
        }
    }
    locks.sort_by_key(|(generation, _)| *generation);
    Ok(locks)
}

fn held(generation: u64, owner: &Owner) -> LockError {
    LockError::Held {
        holder: format!("process {} on {}", owner.pid, owner.host),
        lock: table(generation),
    }
}

fn held_by_another(session: &mut dyn Session, generation: u64) -> Result<LockError, LockError> {
    Ok(match list(session)?.last() {
        Some((highest, owner)) => held(*highest, owner),
        None => LockError::Held {
            holder: "a process that has just ended".to_owned(),
            lock: table(generation),
        },
    })
}
