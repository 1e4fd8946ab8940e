//! Everything at once, at random: writers, readers and merges; connections that are cut; teal killed,
//! suspended and paused; the server killed; rows and partitions deleted and changed in place; cutovers of
//! both kinds, taken back, or brought to their end by a cleanup. However it goes, the same command again must get there, the two tables must
//! be equal, every row that a user was told to be stored must be there, and none that he was told to be gone.
//!
//! `make chaos DURATION=600 SEED=7`. What threads and the server do is not in the seed; what is thrown at
//! them is.
// `make chaos` shows how the story goes.
#![allow(clippy::print_stdout)]

mod changes;
mod ledger;
mod proxy;
mod users;

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use changes::Changes;
use ledger::{Found, Ledger};
use parking_lot::{Mutex, RwLock};
pub(crate) use proxy::Proxy;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use teal_client::{Address, HttpOptions, HttpServer, Server as _};
use users::Users;

use crate::servers::Modern;
use crate::support::{Project, Run, until};

const EVENTS: &str = "CREATE TABLE events (id UInt64, batch UInt64, town String, at DateTime) \
     ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY id;\n";
/// Another sorting key: rows are rewritten. Another setting: parts are cloned. An engine that keeps one of equal
/// rows, by a version.
const NEXT: [&str; 3] = [
    "CREATE TABLE events_1 (id UInt64, batch UInt64, town String, at DateTime) \
         ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY (town, id);\n",
    "CREATE TABLE events_1 (id UInt64, batch UInt64, town String, at DateTime) \
         ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY id SETTINGS merge_with_ttl_timeout = 7200;\n",
    "CREATE TABLE events_1 (id UInt64, batch UInt64, town String, at DateTime) \
         ENGINE = ReplacingMergeTree(at) PARTITION BY toYYYYMM(at) ORDER BY (batch, id, town, at);\n",
];
const VERSION: &str = "-- teal: table events version 1\n";
const VIEW: &str = "CREATE MATERIALIZED VIEW mv_events TO events_1 AS SELECT * FROM events;\n";
const APPLY: &[&str] = &["apply", "--chunk-rows", "30000"];
/// Of a thousand connections. A run of teal has some hundred.
const CUTS: u32 = 30;
/// What teal waits for in vain, now and then: a later try gets there.
const WAITS: [&str; 7] = [
    "is in progress",
    "mutation(s) under way",
    "`teal repair` copies what is missing",
    "no clean cut",
    "another teal works",
    "Run the command again",
    "equal ones are inserted all the time",
];
/// Of what is done to teal and its server, the worst.
const DISTURBANCES: [&str; 3] = ["kills of teal", "suspensions of teal", "kills of the server"];
/// Tries of a command that are disturbed, and those after it that are not.
const DISTURBED: u32 = 6;
const CALM: u32 = 4;

#[test]
fn whatever_happens_both_tables_end_equal_and_no_row_is_lost() {
    let given = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let seconds = given("TEAL_CHAOS_SECONDS").map_or(60, |text| text.parse().unwrap());
    let seed = given("TEAL_CHAOS_SEED").map_or_else(rand::random, |text| text.parse().unwrap());
    println!("chaos of {seconds} s, seed {seed}");

    let modern = Modern::start();
    let proxy = Proxy::start(modern.port(), seed);
    let server = open(&proxy.url());
    let (ledger, over) = (Ledger::default(), AtomicBool::new(false));
    let (quiet, stays, changes) = (RwLock::new(()), RwLock::new(()), AtomicU32::new(0));
    let (quiet, stays, changes) = (&quiet, &stays, &changes);
    let (folds, detached) = (&AtomicBool::new(false), &Mutex::default());
    let users = &Users {
        server: &server,
        ledger: &ledger,
        quiet,
        stays,
        changes,
        folds,
        detached,
        over: &over,
    };
    let mut chaos = Chaos {
        modern,
        proxy,
        project: Project::new(&[("app/events.sql", EVENTS)]),
        users,
        rng: StdRng::seed_from_u64(seed),
        until: Instant::now() + Duration::from_secs(seconds),
        is_still: false,
        did: BTreeMap::new(),
    };
    chaos.undisturbed(&["apply"]);
    thread::scope(|scope| {
        for number in 0..4 {
            scope.spawn(move || users.write(seed ^ number));
        }
        scope.spawn(|| users.read(seed ^ 10));
        scope.spawn(|| Changes::new(users, seed ^ 11).make());
        let _over = Over(users.over);
        while Instant::now() < chaos.until {
            chaos.round();
        }
    });
    let cuts = chaos.proxy.cuts();
    let said = format!("{}; {cuts} connections cut; {:?}", users.ledger.summary(), chaos.did);
    println!("{said}");
    let was_done = |any_of: &[&str]| any_of.iter().any(|it| chaos.did.contains_key(it));
    assert!(was_done(&["migrations"]) && users.ledger.has_acknowledged(), "{said}");
    // In a minute, on a slow machine, it may be no more than one of them.
    assert!(was_done(&DISTURBANCES) || cuts > 0, "{said}");
}

/// Where a cutover by app was killed when it was done, the next one would turn the view, but for the users
/// of the old table.
fn is_done(run: &Run) -> bool {
    run.code == Some(0) || run.stderr.contains("someone writes to it still")
}

struct Chaos<'a> {
    modern: Modern,
    proxy: Proxy,
    project: Project,
    users: &'a Users<'a>,
    rng: StdRng,
    /// Nothing is disturbed after that.
    until: Instant,
    /// Rows are only inserted.
    is_still: bool,
    /// What was done to whom, and how often.
    did: BTreeMap<&'static str, u32>,
}

impl<'a> Chaos<'a> {
    /// A migration, from its beginning to one of its ends.
    fn round(&mut self) {
        let next = NEXT[self.rng.random_range(0..NEXT.len())];
        self.project.write("app/events.sql", &format!("{EVENTS}{VERSION}{next}{VIEW}"));
        let folds = next.contains("Replacing");
        {
            let _quiet = self.silence();
            self.users.folds.store(folds, Ordering::SeqCst);
            // Of a row that stands for others, teal does not take back what was changed in place.
            let changes = if folds { 0 } else { self.rng.random_range(0..8) };
            self.users.changes.store(changes, Ordering::SeqCst);
        }
        self.disturbed(APPLY);
        self.assert_equal("applied");
        if self.rng.random_range(0..3) > 0 {
            let how = ["app", "exchange"][self.rng.random_range(0..2)];
            let users = self.users;
            let still = users.stays.write();
            self.is_still = true;
            self.disturbed(&["cutover", "--by", how]);
            // Of a table that folds, the ledger cannot count the rows.
            let stays_new = how == "exchange" && !folds && self.rng.random();
            self.disturbed(&[if stays_new { "cleanup" } else { "rollback" }]);
            self.is_still = false;
            if stays_new {
                self.begin_anew();
                drop(still);
                self.count("cleanups");
                return self.count("migrations");
            }
            drop(still);
            self.count(how);
            self.assert_equal("rolled back");
        }
        self.disturbed(&["abort"]);
        let quiet = self.silence();
        self.assert_only_blue();
        drop(quiet);
        self.count("migrations");
    }

    fn count(&mut self, what: &'static str) {
        *self.did.entry(what).or_default() += 1;
    }

    /// Runs teal until it gets there, whatever is done to it.
    fn disturbed(&mut self, arguments: &[&str]) {
        self.proxy.cut(CUTS);
        for _ in 0..DISTURBED {
            if Instant::now() > self.until {
                break;
            }
            let teal = self.spawn(arguments);
            let began = Instant::now();
            let run = self.disturb(teal, arguments == APPLY);
            println!("{arguments:?}: {:?} in {:.1} s", run.code, began.elapsed().as_secs_f64());
            self.judge(arguments, &run);
            if is_done(&run) {
                return self.proxy.cut(0);
            }
        }
        let users = self.users;
        let _still = (!self.is_still).then(|| users.stays.write());
        self.undisturbed(arguments);
    }

    /// Runs teal while nothing but the users' INSERTs disturbs it.
    fn undisturbed(&self, arguments: &[&str]) {
        self.proxy.cut(0);
        let mut last = None;
        for _ in 0..CALM {
            let run = Run::of(self.spawn(arguments).wait_with_output().unwrap());
            self.judge(arguments, &run);
            if is_done(&run) {
                return;
            }
            last = Some(run);
            self.wait_while("system.mutations WHERE NOT is_done AND database = 'default'");
        }
        panic!("teal {arguments:?} does not get there: {}", last.unwrap().said());
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        let url = self.proxy.url();
        self.project
            .command(&[&["--url", &url], arguments].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Lets teal run, and does one thing or another at some moment to it or to the server.
    fn disturb(&mut self, mut teal: Child, may_pause: bool) -> Run {
        let moment = Duration::from_millis(self.rng.random_range(0..2500));
        let began = Instant::now();
        while began.elapsed() < moment && teal.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(5));
        }
        if teal.try_wait().unwrap().is_none() {
            match self.rng.random_range(0..10) {
                0..5 => {
                    teal.kill().unwrap();
                    self.count("kills of teal");
                }
                5 | 6 => {
                    let signal = |signal| {
                        let pid = Pid::from_child(&teal);
                        // It may have ended by itself.
                        let _ = kill_process(pid, signal);
                    };
                    signal(Signal::STOP);
                    thread::sleep(Duration::from_millis(self.rng.random_range(50..1500)));
                    signal(Signal::CONT);
                    self.count("suspensions of teal");
                }
                7 => {
                    self.modern.kill_and_start_again();
                    self.proxy.lead_to(self.modern.port());
                    self.count("kills of the server");
                }
                8 if may_pause => {
                    // It may not have begun, or have ended; a pause that stays is ended all the same.
                    self.beside(&["pause"]);
                    thread::sleep(Duration::from_millis(self.rng.random_range(50..1500)));
                    self.beside(&["resume"]);
                    self.count("pauses");
                }
                _ => (),
            }
        }
        Run::of(teal.wait_with_output().unwrap())
    }

    /// From another terminal.
    fn beside(&self, arguments: &[&str]) {
        let url = self.modern.url();
        self.project.teal(&[&["--url", &url], arguments].concat());
    }

    /// What teal may say of itself when things go wrong: anything but that data is not as it should be.
    fn judge(&self, arguments: &[&str], run: &Run) {
        assert!(!run.stderr.contains("panicked"), "teal {arguments:?}: {}", run.said());
        let broke_off = run.killed || matches!(run.code, Some(0 | 1));
        let waits =
            is_done(run) || run.code == Some(3) && WAITS.iter().any(|it| run.stderr.contains(it));
        assert!(broke_off || waits, "teal {arguments:?}: {}", run.said());
    }

    /// Asserts that both tables hold the same rows, and those that the users have written.
    fn assert_equal(&self, said: &str) {
        let users = self.users;
        let _quiet = self.silence();
        // An INSERT that was cut off behind the last verification may be in blue only.
        self.undisturbed(&["repair"]);
        let distinct = if users.folds.load(Ordering::SeqCst) { "DISTINCT" } else { "" };
        assert_eq!(
            self.query::<Count>(&format!(
                "SELECT toUInt64(sum(abs(n))) AS count FROM (SELECT sum(sign) AS n FROM (\
                     SELECT {distinct} 1::Int64 AS sign, * FROM events \
                     UNION ALL SELECT {distinct} -1::Int64 AS sign, * FROM events_1) \
                 GROUP BY id, batch, town, at)"
            ))[0]
                .count,
            0,
            "{said}: rows that are in one table only"
        );
        users.ledger.assert_kept(&self.batches(), said);
    }

    /// Asserts that nothing is there but blue, with all its rows.
    fn assert_only_blue(&self) {
        let tables = self.query::<Name>(
            "SELECT database || '.' || name AS full_name FROM system.tables \
             WHERE database IN ('default', '_teal') \
                 AND name NOT IN ('events', 'journal', 'requests') AND NOT name LIKE 'lock_%'",
        );
        assert!(tables.is_empty(), "left behind: {tables:?}");
        self.users.ledger.assert_kept(&self.batches(), "alone");
    }

    /// Asserts that the new table is all that there is, with all rows, and makes one of the old layout of it.
    fn begin_anew(&self) {
        let _quiet = self.silence();
        self.users.ledger.assert_kept(&self.batches(), "cleaned");
        // They have gone with the old table.
        self.users.detached.lock().clear();
        let server = open(&self.modern.url());
        let mut session = server.session(&[]).unwrap();
        for statement in [
            // An alias, where the server has them.
            "DROP TABLE IF EXISTS events_1 SYNC",
            &EVENTS.replace("TABLE events", "TABLE fresh"),
            "INSERT INTO fresh SELECT * FROM events",
            // Readers go on.
            "EXCHANGE TABLES events AND fresh",
            "DROP TABLE fresh SYNC",
        ] {
            session.command(statement).unwrap();
        }
        self.assert_only_blue();
        session.command("DROP DATABASE _teal SYNC").unwrap();
    }

    /// Waits until nobody writes; nobody does until the guard is dropped.
    fn silence(&self) -> parking_lot::RwLockWriteGuard<'a, ()> {
        let quiet = self.users.quiet.write();
        // A statement whose client is gone goes on, and a mutation that nobody waits for.
        self.wait_while("system.processes WHERE query_kind IN ('Insert', 'Alter', 'Delete')");
        self.wait_while("system.mutations WHERE NOT is_done AND database = 'default'");
        quiet
    }

    fn wait_while(&self, something: &str) {
        let query = format!("SELECT count() AS count FROM {something}");
        until(something, || (self.query::<Count>(&query)[0].count == 0).then_some(()));
    }

    fn batches(&self) -> BTreeMap<u64, Found> {
        #[derive(Deserialize)]
        struct Row {
            batch: u64,
            rows: u64,
            changed: u64,
        }
        let of_each = "SELECT batch, count() AS rows, countIf(town = 'changed') AS changed FROM events GROUP BY batch";
        let rows = self.query::<Row>(of_each).into_iter();
        rows.map(|Row { batch, rows, changed }| (batch, Found { rows, changed })).collect()
    }

    /// Asks the server itself.
    fn query<T: serde::de::DeserializeOwned>(&self, sql: &str) -> Vec<T> {
        open(&self.modern.url()).session(&[]).unwrap().rows(sql).unwrap()
    }
}

#[derive(Deserialize)]
struct Count {
    count: u64,
}

#[derive(Debug, Deserialize)]
struct Name {
    #[expect(dead_code, reason = "a failed assertion shows it")]
    full_name: String,
}

fn open(url: &str) -> HttpServer {
    HttpServer::open(HttpOptions::new(Address::parse(url).unwrap())).unwrap()
}

/// Ends the traffic, also when a promise is found broken.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
