use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use teal_catalog::active_parts;
use teal_client::{EmbeddedEngine, EngineOptions, Format, Server, Session};
use teal_fetch::{Cache, FLIGHTS};
use teal_migrate::{Goal, Observer, Operator, OperatorOptions, Step, Update};
use teal_plan::{Cutover, History, MERGE_STOPS, Migration, Operation, PlanOptions, make_plan};
use teal_schema::{Schema, quote_string};

use crate::Outcome;
use crate::measure::{Sample, pair};

/// The engine with a table of flights ordered by date.
pub(crate) struct Scene {
    engine: EmbeddedEngine,
    file: PathBuf,
    merges: Merges,
}

/// Whether the tables' parts are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Merges {
    /// As ever.
    On,
    /// So that none falls into a measurement.
    Off,
}

impl Merges {
    /// The table settings.
    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::On => &[],
            Self::Off => &MERGE_STOPS,
        }
    }
}

/// What the table is changed into.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Layout {
    /// Another sorting key.
    ByRoute,
    /// Another sorting key, of a table with so many partitions.
    ByRouteIn { partitions: u64 },
    /// Another engine.
    Replacing,
    /// An engine that keeps the newest row of a key, by its date; parts are attached as they are.
    Newest,
    /// The same with another sorting key: rows are folded as they are copied.
    NewestByRoute,
}

impl Scene {
    pub(crate) fn open(directory: &Path, merges: Merges) -> Outcome<Self> {
        let file = Cache::of_user()?.fetch(&FLIGHTS, &mut |_| ())?;
        let engine = EmbeddedEngine::open(EngineOptions {
            library: teal_fetch::fetch_engine_library(&mut |_| ())?,
            data: directory.join("data"),
            config_file: None,
        })?;
        Ok(Self { engine, file, merges })
    }

    /// The engine, as users reach it.
    pub(crate) fn server(&self) -> &dyn Server {
        &self.engine
    }

    /// Makes blue anew, with `rows` rows.
    pub(crate) fn load(&self, rows: u64) -> Outcome<()> {
        self.load_partitioned(rows, 1)
    }

    pub(crate) fn load_partitioned(&self, rows: u64, partitions: u64) -> Outcome<()> {
        /// Rows of the file.
        const FILE_ROWS: u64 = 3_000_000;
        let mut session = self.engine.session(&[])?;
        session.command("DROP TABLE IF EXISTS flights_0_0 SYNC")?;
        let partition_by = match partition_key(partitions) {
            Some(key) => format!("PARTITION BY {key} "),
            None => String::new(),
        };
        session.command(&format!(
            "CREATE TABLE flights_0_0 (date DateTime, delay Int32, distance Int32, \
                 origin LowCardinality(String), destination LowCardinality(String)) \
             ENGINE = MergeTree {partition_by}ORDER BY date"
        ))?;
        for year in 0..rows.div_ceil(FILE_ROWS) {
            session.command(&format!(
                "INSERT INTO flights_0_0 \
                 SELECT toDateTime(date) + INTERVAL {year} YEAR, delay, distance, origin, destination \
                 FROM file({}, Parquet) LIMIT {} SETTINGS max_partitions_per_insert_block = 0",
                quote_string(&self.file.display().to_string()),
                FILE_ROWS.min(rows - year * FILE_ROWS)
            ))?;
        }
        self.settle(session.as_mut(), "flights_0_0")
    }

    /// The plain copy, with the engine's own settings.
    pub(crate) fn plain(&self, layout: Layout) -> Outcome<Sample> {
        let migration = self.migration(layout)?;
        let mut session = self.engine.user_session(&[])?;
        session.command(&migration.create_green)?;
        rustix::fs::sync();
        let began = Instant::now();
        session.command(&format!(
            "INSERT INTO {} {} SETTINGS max_partitions_per_insert_block = 0",
            migration.green.sql(),
            migration.select
        ))?;
        let seconds = began.elapsed().as_secs_f64();
        let parts = active_parts(session.as_mut(), &migration.green)?.len();
        self.drop_all(&migration)?;
        Ok(Sample { seconds, parts })
    }

    /// teal's migration, up to the complete copy.
    pub(crate) fn migrate(&self, layout: Layout) -> Outcome<Sample> {
        self.migrate_to(layout, Goal::Backfilled, &AtomicBool::new(false))
    }

    /// `is_on` tells others when it is under way: the tables are dropped after that.
    pub(crate) fn migrate_to(
        &self,
        layout: Layout,
        goal: Goal,
        is_on: &AtomicBool,
    ) -> Outcome<Sample> {
        let migration = self.migration(layout)?;
        let steps = Steps::default();
        let operator = Operator::open(&self.engine, OperatorOptions::default(), &steps)?;
        let mut migrating = operator.start(migration.clone())?;
        // Whoever waits for the disk waits for his own data, and not for those of the run before.
        rustix::fs::sync();
        is_on.store(true, Ordering::Relaxed);
        let advanced = operator.advance(&mut migrating, goal);
        is_on.store(false, Ordering::Relaxed);
        advanced?;
        drop(operator);
        let mut session = self.engine.session(&[])?;
        let parts = active_parts(session.as_mut(), &migration.green)?.len();
        self.drop_all(&migration)?;
        Ok(Sample { seconds: steps.copy().as_secs_f64(), parts })
    }

    /// Does `work` behind a migration, when nothing is left of it but the view.
    pub(crate) fn forwarding(
        &self,
        layout: Layout,
        work: impl FnOnce() -> Outcome<()>,
    ) -> Outcome<()> {
        let migration = self.migration(layout)?;
        let steps = Steps::default();
        let operator = Operator::open(&self.engine, OperatorOptions::default(), &steps)?;
        let mut migrating = operator.start(migration.clone())?;
        operator.advance(&mut migrating, Goal::Verified)?;
        drop(operator);
        self.rest_of_copy(self.engine.session(&[])?.as_mut())?;
        work()?;
        self.drop_all(&migration)
    }

    /// After a migration: a plain sum of hashes over both tables, and teal's proof of parity.
    pub(crate) fn verify(&self, layout: Layout, pairs: usize) -> Outcome<Vec<(Sample, Sample)>> {
        let migration = self.migration(layout)?;
        let steps = Steps::default();
        let operator = Operator::open(&self.engine, OperatorOptions::default(), &steps)?;
        let mut migrating = operator.start(migration.clone())?;
        operator.advance(&mut migrating, Goal::Backfilled)?;
        let mut session = self.engine.session(&[])?;
        let parts = active_parts(session.as_mut(), &migration.green)?.len();
        let mut samples = Vec::new();
        for number in 0..pairs {
            let plain = || {
                let began = Instant::now();
                for table in [&migration.blue, &migration.green] {
                    let sum = format!("SELECT sum(cityHash64(*)) FROM {}", table.sql());
                    session.run(&sum, Format::TSV)?;
                }
                Ok(Sample { seconds: began.elapsed().as_secs_f64(), parts })
            };
            let teal = || {
                let began = Instant::now();
                let parity = operator.compare(&migrating)?;
                match parity.holds() {
                    true => Ok(Sample { seconds: began.elapsed().as_secs_f64(), parts }),
                    false => Err(parity.to_string().into()),
                }
            };
            samples.push(pair(number, plain, teal)?);
        }
        drop(operator);
        self.drop_all(&migration)?;
        Ok(samples)
    }

    fn migration(&self, layout: Layout) -> Outcome<Migration> {
        let options = PlanOptions {
            database: "default".to_owned(),
            cutover: Cutover::App,
            allow_drop: Vec::new(),
        };
        let (schema, none) = (schema(layout, self.merges)?, BTreeSet::new());
        let plan =
            make_plan(&self.engine, &self.engine, &schema, &none, &History::default(), &options)?;
        let migration = plan.operations.into_iter().find_map(|operation| match operation {
            Operation::Migrate { migration, .. } => Some(*migration),
            _ => None,
        });
        Ok(migration.ok_or("the plan has no migration")?)
    }

    /// Waits until the table's parts are as they will stay without users.
    fn settle(&self, session: &mut dyn Session, table: &str) -> Outcome<()> {
        let settings =
            self.merges.settings().iter().map(|(name, value)| format!("{name} = {value}"));
        let settings = settings.collect::<Vec<_>>().join(", ");
        session.command(&match self.merges {
            Merges::Off => format!("ALTER TABLE {table} MODIFY SETTING {settings}"),
            // A table that has been there for long: what is left to merge are the users' INSERTs.
            Merges::On => format!("OPTIMIZE TABLE {table} FINAL"),
        })?;
        self.rest(session)
    }

    /// Waits until no merge is running.
    fn rest(&self, session: &mut dyn Session) -> Outcome<()> {
        loop {
            let answer = session.run("SELECT count() FROM system.merges", Format::TSV)?;
            if answer.body == b"0\n" {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for the end of the merges that run now: under traffic, others begin all the time.
    fn rest_of_copy(&self, session: &mut dyn Session) -> Outcome<()> {
        let running = "SELECT groupArray(result_part_name) FROM system.merges";
        let now = session.run(running, Format::TSV)?.body;
        let listed = String::from_utf8(now)?;
        let left = format!(
            "SELECT count() FROM system.merges WHERE has({}, result_part_name)",
            listed.trim()
        );
        while session.run(&left, Format::TSV)?.body != b"0\n" {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Back to blue alone, with an empty journal.
    fn drop_all(&self, migration: &Migration) -> Outcome<()> {
        let mut session = self.engine.session(&[])?;
        for name in [&migration.view, &migration.green] {
            session.command(&format!("DROP TABLE IF EXISTS {} SYNC", name.sql()))?;
        }
        session.command("TRUNCATE TABLE IF EXISTS _teal.journal")?;
        Ok(())
    }
}

/// Rows of all partitions come in every INSERT.
fn partition_key(partitions: u64) -> Option<String> {
    (partitions > 1).then(|| format!("distance % {partitions}"))
}

fn schema(layout: Layout, merges: Merges) -> Outcome<Schema> {
    let column =
        |name: &str, data_type: &str| serde_json::json!({ "name": name, "type": data_type });
    let columns = serde_json::json!([
        column("date", "DateTime"),
        column("delay", "Int32"),
        column("distance", "Int32"),
        column("origin", "LowCardinality(String)"),
        column("destination", "LowCardinality(String)"),
    ]);
    let location = serde_json::json!({ "file": "bench", "line": 1 });
    let by_route = vec!["origin", "destination", "date"];
    let newest = serde_json::json!({ "name": "ReplacingMergeTree", "arguments": ["date"] });
    let engine = |name: &str| serde_json::json!({ "name": name });
    let (engine, order_by, partition_by) = match layout {
        Layout::ByRoute => (engine("MergeTree"), by_route, None),
        Layout::ByRouteIn { partitions } => {
            (engine("MergeTree"), by_route, partition_key(partitions))
        }
        Layout::Replacing => (engine("ReplacingMergeTree"), vec!["date"], None),
        Layout::Newest => (newest, vec!["date"], None),
        Layout::NewestByRoute => (newest, vec!["origin", "destination", "delay"], None),
    };
    let settings = BTreeMap::from_iter(merges.settings().iter().copied());
    Ok(serde_json::from_value(serde_json::json!({
        "tables": [
            { "name": "flights", "version": "0.0", "columns": columns, "orderBy": ["date"],
              "partitionBy": partition_by, "settings": settings, "location": location },
            { "name": "flights", "version": "0.1", "columns": columns, "orderBy": order_by,
              "partitionBy": partition_by, "engine": engine, "settings": settings,
              "location": location },
        ],
        "views": [{
            "name": "mv_flights_to_0_1", "select": "SELECT * FROM flights_0_0",
            "selectTables": [{ "name": "flights", "version": "0.0" }],
            "target": { "name": "flights", "version": "0.1" }, "location": location,
        }],
    }))?)
}

/// How long each step took.
#[derive(Default)]
struct Steps {
    ended: Mutex<Vec<(Step, Duration)>>,
}

impl Steps {
    /// Fence and backfill: a clone is made in the first, a rewrite in the second.
    fn copy(&self) -> Duration {
        let Ok(ended) = self.ended.lock() else {
            return Duration::MAX;
        };
        let is_copy = |step: Step| matches!(step, Step::Fence | Step::Backfill);
        ended.iter().filter(|(step, _)| is_copy(*step)).map(|(_, took)| *took).sum()
    }
}

impl Observer for Steps {
    fn update(&self, update: Update<'_>) {
        if let Update::Ended { step, took, .. } = update
            && let Ok(mut ended) = self.ended.lock()
        {
            ended.push((step, took));
        }
    }
}
