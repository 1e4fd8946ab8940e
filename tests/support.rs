//! What the end-to-end tests share: a project in a directory of its own, and the program under test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use teal_client::{ClientError, EmbeddedEngine, EngineOptions, Format, Server};

/// A project in a temporary directory.
pub(crate) struct Project {
    directory: tempfile::TempDir,
}

/// What one run of teal gave.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) killed: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Project {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let project = Self { directory: tempfile::tempdir().unwrap() };
        project.write("teal.toml", CONFIG);
        for (file, text) in files {
            project.write(file, text);
        }
        project
    }

    /// A copy with all its data.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self { directory: tempfile::tempdir().unwrap() };
        let status = Command::new("cp")
            .arg("-a")
            .arg(format!("{}/.", self.path().display()))
            .arg(copy.path())
            .status()
            .unwrap();
        assert!(status.success());
        copy
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join(".teal/data")
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn config(&self) -> String {
        std::fs::read_to_string(self.path().join("teal.toml")).unwrap()
    }

    pub(crate) fn remove(&self, file: &str) {
        std::fs::remove_file(self.path().join(file)).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_teal"));
        command.arg("-C").arg(self.path()).args(arguments).env_remove("FAILPOINTS");
        command
    }

    pub(crate) fn teal(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).output().unwrap())
    }

    /// Runs teal, to be killed at a failpoint.
    pub(crate) fn killed_at(&self, failpoint: &str, arguments: &[&str]) {
        let failpoint = match failpoint.contains('=') {
            true => failpoint.to_owned(),
            false => format!("{failpoint}=return"),
        };
        let run = Run::of(self.command(arguments).env("FAILPOINTS", &failpoint).output().unwrap());
        assert!(run.killed, "{failpoint} was not reached by {arguments:?}: {}", run.said());
    }

    /// Runs teal, which must do what it is told.
    pub(crate) fn must(&self, arguments: &[&str]) -> Run {
        let run = self.teal(arguments);
        assert_eq!(run.code, Some(0), "teal {arguments:?}: {}", run.said());
        run
    }

    /// As `must`. What a cut, a copy or a crash has lost is not brought by a repair: one kills teal here.
    pub(crate) fn exactly(&self, arguments: &[&str]) -> Run {
        let mut command = self.command(arguments);
        let run = Run::of(command.env("FAILPOINTS", NO_REPAIR).output().unwrap());
        assert_eq!(run.code, Some(0), "teal {arguments:?}, or a repair: {}", run.said());
        run
    }

    /// Runs a user's statement as `teal query` does, but in this process: there the engine is loaded once, which takes
    /// longer than to open the data.
    pub(crate) fn query(&self, statement: &str) -> String {
        // `cargo test` has all tests in one process, which has one data directory open at a time.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let library = teal_fetch::fetch_engine_library(&mut |_| ()).unwrap();
        let config = self.path().join("engine.xml");
        let config_file = self.config().contains("config = \"engine.xml\"").then_some(config);
        let options = EngineOptions { library, data: self.data(), config_file };
        let engine = until("the data directory", || match EmbeddedEngine::open(options.clone()) {
            Ok(engine) => Some(engine),
            // Of a process that is just ending.
            Err(ClientError::DirectoryInUse { .. }) => None,
            Err(error) => panic!("{error}"),
        });
        answer(&engine, statement)
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> T {
        let mut all = vec!["--json"];
        all.extend(arguments);
        serde_json::from_str(&self.must(&all).stdout).unwrap()
    }
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        Self {
            code: output.status.code(),
            killed: output.status.signal() == Some(9),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn said(&self) -> String {
        format!("{:?}\n{}\n{}", self.code, self.stdout, self.stderr)
    }

    /// Asserts that it failed with `code`, said each of `words`, and did not panic.
    pub(crate) fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.said());
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in: {}", self.said());
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.said());
    }
}

/// A run of teal beside the test. Killed with it.
pub(crate) struct Background {
    child: Option<Child>,
}

impl Background {
    pub(crate) fn start(mut command: Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { child: Some(command.spawn().unwrap()) }
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }

    /// Does this while no thread of it runs: what it has on disk then, a kill would leave.
    pub(crate) fn while_stopped<T>(&mut self, work: impl FnOnce() -> T) -> T {
        crate::servers::while_stopped(self.child(), work)
    }

    /// Its own end.
    pub(crate) fn finish(mut self) -> Run {
        Run::of(self.child.take().unwrap().wait_with_output().unwrap())
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) -> Run {
        self.child().kill().unwrap();
        self.finish()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// A run of teal that waits at a failpoint.
pub(crate) struct Held {
    run: Background,
    failpoint: Failpoint,
}

impl Held {
    /// Starts it, and returns when it is there for the first time. `others` are failpoints too.
    pub(crate) fn at(name: &str, others: &str, mut command: Command) -> Self {
        let failpoint = Failpoint::new();
        command.env("FAILPOINTS", format!("{name}=1*{};{others}", failpoint.action()));
        let mut run = Background::start(command);
        if !failpoint.is_reached_by(&mut run) {
            panic!("{name} was not reached: {}", run.finish().said());
        }
        Self { run, failpoint }
    }

    /// Lets it go on, to its end.
    pub(crate) fn go_on(self) -> Run {
        self.failpoint.release();
        self.run.finish()
    }
}

/// A failpoint at which a run of teal waits for the test.
pub(crate) struct Failpoint {
    directory: tempfile::TempDir,
}

impl Failpoint {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// What `FAILPOINTS` says behind the name.
    pub(crate) fn action(&self) -> String {
        format!("return({})", self.file().display())
    }

    /// Waits until the run is there; false if it has ended before.
    pub(crate) fn is_reached_by(&self, run: &mut Background) -> bool {
        let (mut ended, began) = (false, Instant::now());
        loop {
            if self.file().exists() {
                return true;
            }
            if ended {
                return false;
            }
            assert!(began.elapsed() < Duration::from_secs(300), "it neither comes there nor ends");
            // What it made before its end is looked for once more.
            ended = run.child().try_wait().unwrap().is_some();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Lets it go on.
    pub(crate) fn release(&self) {
        std::fs::remove_file(self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("held")
    }
}

/// The rows that a user's statement gives, as `teal query` writes them.
pub(crate) fn answer(server: &dyn Server, statement: &str) -> String {
    let (mut session, mut rows) = (server.user_session(&[]).unwrap(), Vec::new());
    let run = session.stream(statement, Format::TSV, &mut |piece| rows.extend_from_slice(piece));
    run.unwrap_or_else(|error| panic!("{statement}: {error}"));
    String::from_utf8(rows).unwrap().trim_end().to_owned()
}

/// Looks until there is something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Kills teal where it has found that one table lacks rows of the other, and is about to bring them.
pub(crate) const NO_REPAIR: &str = "repair-begins=return";

const CONFIG: &str = r#"
[models]
folder = "app"

[targets.default]
kind = "embedded"
path = ".teal/data"
database = "default"
"#;

/// `items` 0.0: ordered by id, a partition per month.
pub(crate) const ITEMS_V00: &str = r#"
import { OlapTable, UInt64 } from "teal-sdk";
export interface Item { id: UInt64; name: string; at: Date; note?: string }
export const items = new OlapTable<Item>("items", {
  version: "0.0", orderByFields: ["id"], partitionBy: "toYYYYMM(at)",
});
"#;

/// `items` 0.1: another sorting key, so the rows are rewritten.
pub(crate) const ITEMS_V01_REWRITTEN: &str = r#"
import { OlapTable } from "teal-sdk";
import { Item } from "./items";
export const itemsV01 = new OlapTable<Item>("items", {
  version: "0.1", orderByFields: ["name", "id"], partitionBy: "toYYYYMM(at)",
});
"#;

pub(crate) const MIGRATE_ITEMS: &str = r#"
import { MaterializedView, sql } from "teal-sdk";
import { Item, items } from "../tables/items";
import { itemsV01 } from "../tables/items_v01";
export const migrate = new MaterializedView<Item>({
  materializedViewName: "mv_items_to_0_1", selectTables: [items],
  selectStatement: sql`SELECT * FROM ${items}`, targetTable: itemsV01,
});
"#;

/// The same tables in SQL, which takes a second less for each plan than to run TypeScript's checks.
pub(crate) const ITEMS: &str = "\
-- teal: table items version 0.0
CREATE TABLE items_0_0 (id UInt64, name String, at DateTime, note Nullable(String))
ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY id;
";

/// Another sorting key, so the rows are rewritten.
pub(crate) const ITEMS_REWRITTEN: &str = "\
-- teal: table items version 0.1
CREATE TABLE items_0_1 (id UInt64, name String, at DateTime, note Nullable(String))
ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY (name, id);
";

/// Another engine and nothing else, so the parts are cloned.
pub(crate) const ITEMS_CLONED: &str = "\
-- teal: table items version 0.1
CREATE TABLE items_0_1 (id UInt64, name String, at DateTime, note Nullable(String))
ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(at) ORDER BY id;
";

pub(crate) const ITEMS_MIGRATION: &str =
    "CREATE MATERIALIZED VIEW mv_items_to_0_1 TO items_0_1 AS SELECT * FROM items_0_0;\n";

/// A project with `items` 0.0, filled, and the models of a migration to come, to this table by [`ITEMS_MIGRATION`].
pub(crate) fn filled_items(version_01: &str) -> Project {
    let project = Project::new(&[("app/items.sql", ITEMS)]);
    project.must(&["apply"]);
    // Several parts in three partitions; identical rows too.
    for statement in [
        insert_items(0, 60_000),
        insert_items(60_000, 30_000),
        "INSERT INTO items_0_0 SELECT 7, 'twin', toDateTime('2024-02-01 00:00:00'), NULL FROM numbers(500)".to_owned(),
    ] {
        project.query(&statement);
    }
    project.write("app/items_v01.sql", version_01);
    project.write("app/migrate.sql", ITEMS_MIGRATION);
    project
}

/// An INSERT of `rows` rows into blue, from id `from`.
pub(crate) fn insert_items(from: u64, rows: u64) -> String {
    format!(
        "INSERT INTO items_0_0 SELECT {from} + number, concat('name ', toString(cityHash64(number) % 1000)), \
         toDateTime('2024-01-01 00:00:00') + number * 120, if(number % 3 = 0, NULL, 'n') FROM numbers({rows})"
    )
}

/// Rows by which two tables differ, as multisets.
pub(crate) fn difference(project: &Project, one: &str, other: &str) -> String {
    project.query(&format!(
        "SELECT ifNull(sum(abs(n)), 0) FROM (SELECT sum(sign) AS n FROM (\
             SELECT 1::Int64 AS sign, id, name, at, note FROM {one} \
             UNION ALL SELECT -1::Int64 AS sign, id, name, at, note FROM {other}) \
         GROUP BY id, name, at, note)"
    ))
}
