use std::path::PathBuf;
use std::time::Duration;

use crate::time_span::TimeSpan;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{
    ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum,
};
use teal_migrate::{Bytes, Hours, Latency, Limit, Limits, Parts};

/// Change the layout of ClickHouse tables without stopping reads or writes.
///
/// Declare a table in code with a version; bump the version to change its engine, sorting key,
/// primary key or partition key. teal builds the new table beside the old one, forwards new rows,
/// copies the history exactly once, proves it, and moves readers and writers over.
///
/// Start with `teal demo` (the whole story on real data) or `teal init` (a project of your own).
#[derive(Debug, Parser)]
#[command(name = "teal", version, max_term_width = 100, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 refused for safety; 4 the plan is not empty (plan --check); 130 interrupted."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// The command line of this process.
    pub(crate) fn read() -> Self {
        Self::of(Self::command().get_matches()).unwrap_or_else(|error| error.exit())
    }

    /// Each of `--url` and `--data` is the target. Of two, the flag comes before the variable, as
    /// everywhere; where both are one or the other, nobody can tell which is meant. A flag `--target` names
    /// one of teal.toml, so that no variable sends the command elsewhere.
    fn of(matches: ArgMatches) -> Result<Self, clap::Error> {
        let is_flag = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
        let (url, data) = (is_flag("url"), is_flag("data"));
        let mut cli = Self::from_arg_matches(&matches)?;
        let common = &mut cli.common;
        if is_flag("target") {
            if url || data {
                let said =
                    "--target names the target, and so do --url and --data: give one of them";
                return Err(Self::command().error(ErrorKind::ArgumentConflict, said));
            }
            (common.url, common.data) = (None, None);
        }
        match (&common.url, &common.data) {
            (Some(_), Some(_)) if url == data => {
                let said =
                    "--url (TEAL_URL) and --data (TEAL_DATA) are two targets: give one of them";
                return Err(Self::command().error(ErrorKind::ArgumentConflict, said));
            }
            (Some(_), Some(_)) if url => common.data = None,
            (Some(_), Some(_)) => common.url = None,
            _ => (),
        }
        Ok(cli)
    }
}

/// Over the flags that each command takes, behind its own.
const GLOBAL: &str = "Global options";

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The project: the directory with teal.toml
    #[arg(short = 'C', long, global = true, help_heading = GLOBAL, value_name = "DIR", default_value = ".")]
    pub(crate) project: PathBuf,
    /// Which of the targets in teal.toml
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        value_name = "NAME",
        env = "TEAL_TARGET",
        default_value = "default"
    )]
    pub(crate) target: String,
    /// A server, in place of the target in teal.toml: http(s)://user@host:port/?database=name
    /// or clickhouse://user@host/database. Rather than in the address, give the password in
    /// teal.toml as "${NAME}"
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "URL", env = "TEAL_URL", hide_env_values = true)]
    pub(crate) url: Option<String>,
    /// An embedded engine's data directory, in place of the target in teal.toml, even where that is a
    /// server
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR", env = "TEAL_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// A ClickHouse configuration file for the embedded engine, in place of the target's `config`
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE")]
    pub(crate) engine_config: Option<PathBuf>,
    /// Seconds that the models may run
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) model_timeout: u64,
    /// Data as JSON on the standard output
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a project: teal.toml and a first model, or models of what a server has
    ///
    /// Without --from, a project on the embedded engine, for trials: it needs no server. With it, models
    /// of the tables and views that are there, so that `teal plan` has nothing to do at first.
    Init(Init),
    /// Write models of the tables and views that the target has and the models do not
    ///
    /// Files that are there are never changed. What models cannot hold is told.
    Pull(Pull),
    /// Show what `apply` would do; changes nothing
    ///
    /// Compares the models with the target: what is created, altered or migrated, by which statements,
    /// at what cost, and what stands in the way. A plan that was saved can be reviewed and applied as it
    /// is; it is refused once the target has changed.
    Plan(Plan),
    /// Do what the plan says: create, and migrate up to a verified copy
    ///
    /// A migration makes the new table, forwards new rows to it, copies the history and proves that both
    /// tables hold the same. Readers and writers stay on the old table until `teal cutover`. If it is
    /// interrupted or killed, run it again: it goes on where it was.
    Apply(Apply),
    /// Show every migration: phase, progress, what it waits for, limits, and what comes next
    Status(Status),
    /// Let a migration begin nothing more, also while `apply` runs in another terminal
    Pause(Which),
    /// Let a paused migration go on
    Resume(Which),
    /// Show the limits of a migration, or change them, also while `apply` runs in another terminal
    Throttle(Throttle),
    /// Prove that the old and the new table hold the same rows
    ///
    /// Counts and hashes of all rows, computed by the server, by partition; what differs is told down to
    /// samples of rows (exit code 3). Partitions whose parts are those of the last proof are not read again.
    Verify(Verify),
    /// Make the new table equal to the old one, by exactly the rows that are proven to differ
    ///
    /// Copies what the new table lacks, removes what it has too many where it is known why, and proves
    /// both again.
    Repair(Repair),
    /// Move readers and writers to the new table
    ///
    /// Proves once more that both tables hold the same, and refuses if they do not. After a cutover by
    /// app, run it again when all code is deployed: it then keeps the old table current.
    Cutover(Cutover),
    /// Move readers and writers back to the old table, with the rows that only the new one has
    ///
    /// Can be done until `teal cleanup`. It looks first whether it can be done without losing a row or
    /// bringing a deleted one back; if not, it refuses and leaves everything as it is.
    Rollback(Rollback),
    /// Drop the old table and what teal made for the migration
    ///
    /// Refuses while the old table is read or written, must be kept, or has rows that the new one lacks.
    /// There is no rollback after it.
    Cleanup(Cleanup),
    /// Give a migration up before its cutover, also while `apply` runs: drop all that it made
    ///
    /// The old table is never touched. Refuses if the new table has rows that the old one lacks.
    Abort(Abort),
    /// Look at the target: connection, version, rights, features, fence, disks, merges, clock
    Doctor,
    /// Run a statement on the target, as a user's
    Query(Query),
    /// Play the whole story on three million real rows, under traffic, and prove the outcome
    Demo(Demo),
    /// The embedded engine: ClickHouse as a library
    Engine(Engine),
    /// Print completions for a shell
    #[command(after_help = "Example:\n  teal completions bash > /etc/bash_completion.d/teal")]
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  teal init --lang py shop\n  teal init shop --from 'https://teal@ch.example:8443/?database=shop'"
)]
pub(crate) struct Init {
    /// Where; made if it is missing
    #[arg(default_value = ".")]
    pub(crate) directory: PathBuf,
    /// The language of the models
    #[arg(long, value_enum, default_value_t = Language::Ts)]
    pub(crate) lang: Language,
    /// Begin with models of what this server has: its URL with the database, as
    /// clickhouse://user@host/database or https://user@host:8443/?database=name; or the embedded
    /// engine's data directory
    #[arg(long, value_name = "URL|DIR")]
    pub(crate) from: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  teal pull --dry-run\n  teal pull --lang sql 'events*'")]
pub(crate) struct Pull {
    /// The language of the models
    #[arg(long, value_enum, default_value_t = Language::Ts)]
    pub(crate) lang: Language,
    /// Only tables and views of these names; `*` stands for any text
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Show the models, and write no file
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// TypeScript
    Ts,
    /// Python
    Py,
    /// SQL
    Sql,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  teal plan\n  teal plan --explain events\n  teal plan --save change.yaml     then: teal apply --plan change.yaml\n  teal plan --no-target --check    in CI: are the models sound?"
)]
pub(crate) struct Plan {
    /// Print the plan as YAML
    #[arg(long, conflicts_with = "json")]
    pub(crate) yaml: bool,
    /// Write the plan as YAML to a file as well
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Plan for an empty target: checks the models by themselves, on an embedded engine of their own
    #[arg(long)]
    pub(crate) no_target: bool,
    /// Say why an operation is as it is, and what it will do: its number, or its table or
    /// view, as the models or the target name it
    #[arg(long, value_name = "OP", conflicts_with_all = ["json", "yaml"])]
    pub(crate) explain: Option<String>,
    /// Exit with 4 when there is anything to do
    #[arg(long)]
    pub(crate) check: bool,
    /// Drop what no model declares: a table, a view, or a column as `table.column`; `*` stands for
    /// any text
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_drop: Vec<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  teal apply\n  teal apply --plan change.yaml\n  teal apply --hours 22:00-06:00 --query-latency 200ms"
)]
pub(crate) struct Apply {
    /// Do what this plan says and nothing else (of `teal plan --save`); the models are not read
    #[arg(long, value_name = "FILE", conflicts_with = "allow_drop")]
    pub(crate) plan: Option<PathBuf>,
    /// Drop what no model declares: a table, a view, or a column as `table.column`; `*` stands for
    /// any text
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_drop: Vec<String>,
    #[command(flatten)]
    pub(crate) migrate: Migrate,
}

/// How migrations are carried out.
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// Chunks copied at the same time, each by one thread of the server; 16 at most
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=16))]
    pub(crate) workers: Option<usize>,
    /// Rows of a chunk, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) chunk_rows: Option<u64>,
    /// Seconds to keep trying for a moment without long INSERTs
    #[arg(long, value_name = "SECONDS")]
    pub(crate) fence_timeout: Option<u64>,
    #[command(flatten)]
    pub(crate) limits: LimitFlags,
}

/// Each takes `off` and `auto` as well.
#[derive(Debug, Args)]
pub(crate) struct LimitFlags {
    /// Bytes to copy in a second, before compression, such as 50MB; `off` or `auto`: as fast as it goes
    #[arg(long, value_name = "BYTES")]
    bytes_per_second: Option<Limit<Bytes>>,
    /// Wait while 5 of 100 of the users' statements take longer, such as 200ms; `auto`: a long copy gives
    /// way to them, at a lower priority; `off`: it does not
    #[arg(long, value_name = "TIME")]
    query_latency: Option<Limit<Latency>>,
    /// Wait while a partition of either table has more parts; `auto`: half of the table's
    /// parts_to_delay_insert, a quarter while merges do not keep up
    #[arg(long, value_name = "PARTS")]
    max_parts: Option<Limit<Parts>>,
    /// Wait while less is free on the new table's disk, such as 20GiB; `auto`: a twentieth of the disk, 5
    /// GiB at most
    #[arg(long, value_name = "BYTES")]
    disk_free: Option<Limit<Bytes>>,
    /// Copy only then, by the server's clock, such as 22:00-06:00; `off` or `auto`: at any time
    #[arg(long, value_name = "FROM-TO")]
    hours: Option<Limit<Hours>>,
}

impl From<&LimitFlags> for Limits {
    fn from(flags: &LimitFlags) -> Self {
        Self {
            bytes_per_second: flags.bytes_per_second,
            query_latency: flags.query_latency,
            max_parts: flags.max_parts,
            disk_free: flags.disk_free,
            hours: flags.hours,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  teal status\n  teal status events --watch")]
pub(crate) struct Status {
    /// Only this migration: its table, its green table or its id
    pub(crate) table: Option<String>,
    /// Show it anew as it changes, until Ctrl-C: in place on a terminal, else a line for each change
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  teal verify\n  teal verify events --sample 5%\n  teal verify events --watch --every 10m"
)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Only look at about this share of the rows, such as 5%, others each time: at partitions, or at a range
    /// of what the new table is sorted by. No proof, but soon done: for tables that are too large to be read as a
    /// whole now
    #[arg(long, value_name = "PERCENT", conflicts_with = "watch")]
    pub(crate) sample: Option<Percent>,
    /// Prove it again and again until the cutover, or until the tables differ: each proof reads what has
    /// changed since the one before, and makes that of the cutover as short
    #[arg(long)]
    pub(crate) watch: bool,
    /// Between two proofs of --watch, such as 30s or 10m
    #[arg(long, value_name = "TIME", default_value = "1m", requires = "watch", value_parser = pause)]
    pub(crate) every: TimeSpan,
}

/// A share, written as `5%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Percent(pub(crate) f64);

impl std::str::FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        match number.filter(|number| *number > 0.0 && *number <= 100.0) {
            Some(number) => Ok(Self(number / 100.0)),
            None => Err("write it such as 5% or 0.1%".to_owned()),
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  teal throttle                              show the limits\n  teal throttle events --bytes-per-second 50MB\n  teal throttle events --bytes-per-second auto"
)]
pub(crate) struct Throttle {
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) limits: LimitFlags,
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The migration: its table, its green table or its id. Not needed where the project's database has only one
    pub(crate) table: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Repair {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Remove rows that only the new table has, also where it is not known how the old one lost them
    #[arg(long)]
    pub(crate) drop_extra: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  teal cutover events\n  teal cutover events --by exchange")]
pub(crate) struct Cutover {
    #[command(flatten)]
    pub(crate) which: Which,
    /// How [default: as the plan said]
    #[arg(long, value_enum)]
    pub(crate) by: Option<By>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// Your code is deployed with the new table's name
    App,
    /// The names are exchanged: the one that readers and writers know means the new table
    Exchange,
    /// The alias that readers and writers use is swapped from the old table to the new one
    Alias,
}

impl From<By> for teal_plan::Cutover {
    fn from(by: By) -> Self {
        match by {
            By::App => Self::App,
            By::Exchange => Self::Exchange,
            By::Alias => Self::Alias,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Without the rows that only the new table has; they stay there
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Abort {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Even though the new table has rows that the old one lacks: they are lost
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  teal cleanup events\n  teal cleanup events --park 7d")]
pub(crate) struct Cleanup {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Look neither at the retention, nor at who uses the old table and which views read it, nor at
    /// rows that only it has, which are lost, nor whether the new table was dropped or made anew
    #[arg(long)]
    pub(crate) force: bool,
    /// Keep the old table for so long after the cutover, as in 7d or 12h [default: as teal.toml says,
    /// else 0s]
    #[arg(long, value_name = "TIME")]
    pub(crate) retention: Option<TimeSpan>,
    /// Put the old table aside for so long, as NAME_drop_YYYYMMDD, before a later cleanup drops it
    /// [default: as teal.toml says, else it is dropped at once]
    #[arg(long, value_name = "TIME")]
    pub(crate) park: Option<TimeSpan>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  teal query 'SELECT count() FROM events_0_1'\n  teal query --format CSV 'SELECT * FROM events_0_1 LIMIT 10' > sample.csv"
)]
pub(crate) struct Query {
    /// The statement
    pub(crate) statement: String,
    /// The format of the result, by ClickHouse's name [default: PrettyCompact on a terminal, else
    /// TabSeparated; JSONEachRow with --json]
    #[arg(long)]
    pub(crate) format: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  teal demo\n  teal demo --writers 8 --rows 10000000 --seed 7\n  teal demo --recipe documented    what the usual recipe loses"
)]
pub(crate) struct Demo {
    /// Rows in the table before the migration
    #[arg(long, default_value_t = 3_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rows: u64,
    /// Connections that insert all the time
    #[arg(long, default_value_t = 4)]
    pub(crate) writers: usize,
    /// Connections that query all the time
    #[arg(long, default_value_t = 2)]
    pub(crate) readers: usize,
    /// Seconds of traffic before the migration
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) seconds_before: f64,
    /// Seconds of traffic after the cutover
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) seconds_after: f64,
    /// Where to play, for the figures of a disk; a project is made there [default: a temporary directory, in
    /// memory where there is room]
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Option<PathBuf>,
    /// Keep the project and its data
    #[arg(long)]
    pub(crate) keep: bool,
    /// Which recipe to follow
    #[arg(long, value_enum, default_value_t = Recipe::Teal)]
    pub(crate) recipe: Recipe,
    /// The seed of the random traffic: the same one gives the same rows and questions
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Recipe {
    /// teal's own
    Teal,
    /// What documentation usually gives: create the view, then one INSERT … SELECT
    Documented,
}

#[derive(Debug, Args)]
pub(crate) struct Engine {
    #[command(subcommand)]
    pub(crate) action: EngineAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EngineAction {
    /// Fetch the engine with npm, check it and cache it. Does nothing when it is there
    Install,
    /// Where the engine is, and its version
    Info,
}

/// A time in which others find the target free.
fn pause(text: &str) -> Result<TimeSpan, String> {
    const SHORTEST: Duration = Duration::from_secs(1);
    match text.parse::<TimeSpan>()? {
        TimeSpan(time) if time < SHORTEST => Err("1s at least".to_owned()),
        span => Ok(span),
    }
}

/// A time of a day at most.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("seconds between 0 and 86400".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;

    /// The help of every command, as docs/cli.md shows it: each flag once, without what the environment
    /// of this process says.
    fn reference() -> String {
        let mut teal = Cli::command().term_width(100).mut_args(|arg| arg.hide_env_values(true));
        teal.build();
        let mut page = "# Which commands are there, and which flags?\n\n\
            What `teal --help` and `teal COMMAND --help` print (`-h` is shorter). A test holds this page \
            against the program.\n"
            .to_owned();
        write_help(&mut page, teal.clone(), "teal");
        let mut commands = teal.get_subcommands().cloned().collect::<Vec<_>>();
        commands.retain(|command| command.get_name() != "help");
        for command in commands {
            let name = format!("teal {}", command.get_name());
            let below = command.get_subcommands().filter(|it| it.get_name() != "help").cloned();
            let below = below.collect::<Vec<_>>();
            write_help(&mut page, without_global(command), &name);
            for command in below {
                let name = format!("{name} {}", command.get_name());
                write_help(&mut page, without_global(command), &name);
            }
        }
        page
    }

    fn without_global(command: clap::Command) -> clap::Command {
        command.mut_args(|arg| {
            let is_global = arg.get_help_heading() == Some(GLOBAL);
            let is_global = is_global || ["help", "version"].contains(&arg.get_id().as_str());
            arg.hide(is_global)
        })
    }

    fn write_help(page: &mut String, mut command: clap::Command, name: &str) {
        let help = command.render_long_help().to_string();
        let lines = help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        write!(page, "\n## {name}\n\n```text\n{}\n```\n", lines.trim_end()).unwrap();
    }

    /// `UPDATE_DOCS=1 cargo test -p teal cli` writes the page.
    #[test]
    fn the_page_of_commands_is_what_the_program_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, reference()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page == reference(), "docs/cli.md is not of this program: UPDATE_DOCS=1 writes it");
    }

    #[test]
    fn the_arguments_of_no_command_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
