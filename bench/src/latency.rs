//! How much the users' statements are slowed down while their table is migrated.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::{Table, presets};
use teal_client::Server;
use teal_migrate::Goal;

use crate::Outcome;
use crate::measure::{at_most, percentile};
use crate::scene::{Layout, Merges, Scene};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Rows of the table
    #[arg(long, default_value_t = ROWS)]
    rows: u64,
    /// Seconds of traffic alone, and at least as many under migrations
    #[arg(long, default_value_t = SECONDS)]
    seconds: u64,
    /// Rows of an INSERT: the users' statements are measured with each
    #[arg(long, value_delimiter = ',', default_values_t = BATCHES)]
    batch: Vec<u64>,
}

const ROWS: u64 = 20_000_000;
const SECONDS: u64 = 30;
const WRITERS: u64 = 2;
const READERS: u64 = 1;
/// As ClickHouse advises, and a tenth of that: of so few rows, what it costs to write a part at all is most.
const BATCHES: [u64; 2] = [10_000, 1_000];
/// Between two statements of a connection.
const PAUSE: Duration = Duration::from_millis(50);

impl Default for Options {
    fn default() -> Self {
        Self { rows: ROWS, seconds: SECONDS, batch: BATCHES.to_vec() }
    }
}

/// The times of the users' statements, in milliseconds.
#[derive(Default)]
struct Times {
    inserts: Vec<f64>,
    selects: Vec<f64>,
}

/// The users' statements of one size.
struct Measured {
    batch: u64,
    before: Times,
    /// With nothing of a migration but the view.
    forwarded: Times,
    during: Times,
    migrations: u32,
}

pub(crate) fn run(options: &Options) -> Outcome<()> {
    let directory = tempfile::Builder::new().prefix("teal-bench-").tempdir()?;
    let scene = Scene::open(directory.path(), Merges::On)?;
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "statement",
        "alone, p50",
        "p99",
        "worst",
        "with the view alone, p50",
        "p99",
        "under migrations, p50",
        "p99",
        "worst",
        "ratio of the p99",
        "must be",
        "the view's part",
    ]);
    let (mut statements, mut migrations) = (0, 0);
    for batch in &options.batch {
        anstream::eprintln!("loading {} rows", options.rows);
        scene.load(options.rows)?;
        let measured = measure(&scene, *batch, Duration::from_secs(options.seconds))?;
        add_rows(&mut table, &measured);
        statements += measured.before.inserts.len() + measured.during.inserts.len();
        migrations += measured.migrations;
    }
    anstream::println!("{table}");
    anstream::println!(
        "\n{WRITERS} writers and {READERS} reader, {} ms between two statements of each; {statements} INSERTs; {migrations} migrations (rewrites) of {} rows, from the fence to the proof.",
        PAUSE.as_millis(),
        options.rows
    );
    Ok(())
}

fn measure(scene: &Scene, batch: u64, time: Duration) -> Outcome<Measured> {
    let under_traffic =
        |work: &mut dyn FnMut(&AtomicBool) -> Outcome<()>| under_traffic(scene, batch, work);
    // The first seconds of traffic are not those of every day.
    anstream::eprintln!("INSERTs of {batch} rows, alone");
    under_traffic(&mut |_| pass(time / 4))?;
    let before = under_traffic(&mut |counts| {
        counts.store(true, Ordering::Relaxed);
        pass(time)
    })?;
    anstream::eprintln!("INSERTs of {batch} rows, with the view alone");
    let forwarded = under_traffic(&mut |counts| {
        scene.forwarding(Layout::ByRoute, || {
            counts.store(true, Ordering::Relaxed);
            pass(time)?;
            counts.store(false, Ordering::Relaxed);
            Ok(())
        })
    })?;
    anstream::eprintln!("INSERTs of {batch} rows, under migrations");
    let mut migrations = 0;
    let during = under_traffic(&mut |counts| {
        let mut took = Duration::ZERO;
        while took < time {
            let began = Instant::now();
            scene.migrate_to(Layout::ByRoute, Goal::Verified, counts)?;
            took += began.elapsed();
            migrations += 1;
            // What is dropped is not a part of a migration, nor are the merges of its last moment.
            pass(Duration::from_secs(2))?;
        }
        Ok(())
    })?;
    Ok(Measured { batch, before, forwarded, during, migrations })
}

fn add_rows(table: &mut Table, measured: &Measured) {
    let Measured { batch, before, forwarded, during, .. } = measured;
    let insert = format!("INSERT of {batch} rows");
    let select = format!("SELECT by the sorting key, beside INSERTs of {batch}");
    for (what, before, forwarded, during) in [
        (insert, &before.inserts, &forwarded.inserts, &during.inserts),
        (select, &before.selects, &forwarded.selects, &during.selects),
    ] {
        let of = |times: &[f64], share: f64| format!("{:.1} ms", percentile(times, share));
        let p99 = [before, forwarded, during].map(|times| percentile(times, 0.99));
        let [alone, with_view, migrating] = p99;
        table.add_row([
            what,
            of(before, 0.5),
            of(before, 0.99),
            of(before, 1.0),
            of(forwarded, 0.5),
            of(forwarded, 0.99),
            of(during, 0.5),
            of(during, 0.99),
            of(during, 1.0),
            format!("{:.2}", migrating / alone),
            at_most(2.0, migrating / alone),
            format!("{:.2}", with_view / alone),
        ]);
    }
}

fn pass(time: Duration) -> Outcome<()> {
    thread::sleep(time);
    Ok(())
}

/// The times of the users' statements while `work` is done, as far as it lets them count.
fn under_traffic(
    scene: &Scene,
    rows: u64,
    work: &mut dyn FnMut(&AtomicBool) -> Outcome<()>,
) -> Outcome<Times> {
    let (stop, counts) = (&AtomicBool::new(false), &AtomicBool::new(false));
    let statement = |number: u64| match number < WRITERS {
        true => format!("INSERT INTO flights_0_0 FORMAT JSONEachRow {}", batch(rows)),
        false => "SELECT count(), avg(delay) FROM flights_0_0 \
             WHERE date BETWEEN '2001-03-01 00:00:00' AND '2001-03-01 06:00:00'"
            .to_owned(),
    };
    thread::scope(|scope| {
        let users = (0..WRITERS + READERS)
            .map(|number| {
                let sql = statement(number);
                scope.spawn(move || {
                    repeat(scene.server(), &sql, stop, counts).map_err(|it| it.to_string())
                })
            })
            .collect::<Vec<_>>();
        let worked = work(counts);
        stop.store(true, Ordering::Relaxed);
        let mut times = Times::default();
        for (number, user) in (0..).zip(users) {
            let took = user.join().map_err(|_| "a user's thread panicked")??;
            match number < WRITERS {
                true => times.inserts.extend(took),
                false => times.selects.extend(took),
            }
        }
        worked.map(|()| times)
    })
}

/// Rows as an application sends them.
fn batch(rows: u64) -> String {
    let row = |number: u64| {
        format!(
            "{{\"date\":\"2001-01-01 {:02}:{:02}:{:02}\",\"delay\":{},\"distance\":{},\"origin\":\"SFO\",\"destination\":\"LAX\"}}\n",
            number / 3600 % 24,
            number / 60 % 60,
            number % 60,
            number % 90,
            number % 2000
        )
    };
    (0..rows).map(row).collect()
}

fn repeat(
    server: &dyn Server,
    sql: &str,
    stop: &AtomicBool,
    counts: &AtomicBool,
) -> Outcome<Vec<f64>> {
    let mut session = server.user_session(&[])?;
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let counted = counts.load(Ordering::Relaxed);
        let began = Instant::now();
        session.command(sql)?;
        if counted || counts.load(Ordering::Relaxed) {
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
        thread::sleep(PAUSE);
    }
    Ok(times)
}
