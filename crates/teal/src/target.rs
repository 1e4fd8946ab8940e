use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use teal_catalog::has_rights;
use teal_client::{ClientError, EmbeddedEngine, EngineOptions, HttpOptions, HttpServer};
use teal_migrate::{Interrupt, Limits, OperatorOptions, Running};
use teal_models::{LoadOptions, Loading};
use teal_plan::{Cutover, PlanOptions};
use teal_schema::quote_ident;

use crate::cli::{Common, Migrate};
use crate::config::{Config, Server, Target, default_database};
use crate::failure::Failure;
use crate::passing::PassingDirectory;
use crate::signals::take_over_signals;
use crate::time_span::TimeSpan;
use crate::{secrets, show};

/// A project and the target that a command is about.
pub(crate) struct Project {
    pub(crate) directory: PathBuf,
    pub(crate) config: Config,
    target: Opening,
    /// Where there is no target: the directory of an engine of its own.
    scratch: Option<PassingDirectory>,
    /// A data directory that is not there may be made. One that the command line names may be mistyped: only
    /// `apply` makes it.
    pub(crate) makes_data: bool,
    pub(crate) plan: PlanOptions,
    pub(crate) load: LoadOptions,
    interrupt: Interrupt,
}

/// What the models declare, and the target.
pub(crate) struct Opened {
    pub(crate) loaded: teal_models::Loaded,
    pub(crate) server: Box<dyn teal_client::Server>,
    own: Option<OwnEngine>,
}

impl Opened {
    /// Where scratch databases may be made.
    pub(crate) fn trials(&self) -> &dyn teal_client::Server {
        self.own.as_ref().map_or(self.server.as_ref(), |own| &own.engine)
    }
}

/// What scratch databases take.
const SCRATCH_RIGHTS: [&str; 6] =
    ["CREATE DATABASE", "DROP DATABASE", "CREATE TABLE", "CREATE VIEW", "DROP TABLE", "DROP VIEW"];

/// An embedded engine that stands in where the target lets teal make no database.
struct OwnEngine {
    engine: EmbeddedEngine,
    _data: PassingDirectory,
}

impl OwnEngine {
    fn open() -> Result<Self, Failure> {
        let library = teal_fetch::engine_library().map_err(|error| {
            Failure::failed(format!(
                "the target lets teal make no scratch database, and there is no embedded engine to stand in: {error}\n  instead: `teal engine install`, or GRANT {} ON _teal*.* to teal's user",
                SCRATCH_RIGHTS.join(", ")
            ))
        })?;
        let data = PassingDirectory::in_memory("teal-trials-", DEFINITIONS)?;
        let path = data.path().join("data");
        let engine =
            EmbeddedEngine::open(EngineOptions { library, data: path, config_file: None })?;
        Ok(Self { engine, _data: data })
    }
}

/// A target, as a command that needs no lock finds it.
pub(crate) enum OpenOrRunning {
    Open(Box<dyn teal_client::Server>),
    /// Another process has the data directory open.
    Running {
        data: PathBuf,
        running: Box<Running>,
    },
}

/// How the target is opened.
enum Opening {
    Embedded(EngineOptions),
    Server(Box<HttpOptions>),
}

impl Project {
    /// Reads the configuration; flags come before it.
    pub(crate) fn read(common: &Common) -> Result<Self, Failure> {
        let project = &common.project;
        let config = match common.url.is_some() || common.data.is_some() {
            // What is asked of a server by its address, or of a data directory, needs no project.
            true if !project.join(Config::FILE).exists() => Config::default(),
            _ => Config::read(project)?,
        };
        let (database, target) = match (&common.url, &common.data, config.target(&common.target)) {
            (Some(url), ..) => of_server(&Server::at(url), project)?,
            // As with `--url`, the place that was named stands for the whole target.
            (None, Some(data), Ok(Target::Server(_))) => {
                (default_database(), of_engine(common, data.clone(), None)?)
            }
            (None, None, Ok(Target::Server(server))) => of_server(server, project)?,
            (None, data, Ok(Target::Embedded { path, database, config })) => {
                let data = data.clone().unwrap_or_else(|| project.join(path));
                let file = config.as_ref().map(|file| project.join(file));
                (database.clone(), of_engine(common, data, file)?)
            }
            (None, Some(data), Err(_)) if config.targets.is_empty() => {
                (default_database(), of_engine(common, data.clone(), None)?)
            }
            (None, _, Err(error)) => return Err(error),
        };
        if common.engine_config.is_some() && matches!(target, Opening::Server(_)) {
            show::warning(
                &"the target is a server: --engine-config, for the embedded engine, is of no account",
            );
        }
        Ok(Self {
            directory: project.clone(),
            load: load_options(database.clone(), &config, common),
            plan: plan_options(database, &config),
            interrupt: Interrupt::default(),
            target,
            scratch: None,
            makes_data: common.data.is_none(),
            config,
        })
    }

    /// Reads the configuration, and stands for an empty target: an embedded engine that goes again.
    pub(crate) fn without_target(common: &Common) -> Result<Self, Failure> {
        let config = Config::read(&common.project)?;
        // Of the target, only its database counts; where it is not there, of the only one.
        let only = config.targets.values().next().filter(|_| config.targets.len() == 1);
        let target = config.targets.get(&common.target).or(only);
        let database = target.map_or_else(default_database, Target::database);
        if common.url.is_some() || common.data.is_some() {
            show::warning(&"the plan is for an empty target: --url and --data are of no account");
        }
        let scratch = PassingDirectory::in_memory("teal-plan-", DEFINITIONS)?;
        let engine = EngineOptions {
            library: teal_fetch::engine_library()?,
            data: scratch.path().join("data"),
            config_file: common.engine_config.clone(),
        };
        Ok(Self {
            directory: common.project.clone(),
            load: load_options(database.clone(), &config, common),
            plan: plan_options(database, &config),
            interrupt: Interrupt::default(),
            target: Opening::Embedded(engine),
            scratch: Some(scratch),
            makes_data: true,
            config,
        })
    }

    /// Opens the target.
    pub(crate) fn open(&self) -> Result<Box<dyn teal_client::Server>, Failure> {
        self.refuse_without_data()?;
        self.open_or_make()
    }

    /// Opens the target; a data directory that is not there is made where it may be.
    pub(crate) fn open_or_make(&self) -> Result<Box<dyn teal_client::Server>, Failure> {
        if !self.makes_data {
            self.refuse_without_data()?;
        }
        match &self.target {
            Opening::Embedded(options) => match open_embedded(options)? {
                Embedded::Open(engine) => {
                    take_over_signals(None, self.interrupt.clone())?;
                    Ok(Box::new(engine))
                }
                Embedded::InUse { error, .. } => Err(error.into()),
            },
            Opening::Server(options) => {
                let server = HttpServer::open((**options).clone())?;
                take_over_signals(Some(server.clone()), self.interrupt.clone())?;
                Ok(Box::new(server))
            }
        }
    }

    /// The embedded engine's data directory, where the target is one.
    pub(crate) fn data_directory(&self) -> Result<Option<PathBuf>, Failure> {
        match &self.target {
            Opening::Embedded(options) => Ok(Some(absolute(options)?)),
            Opening::Server(_) => Ok(None),
        }
    }

    /// Its path may be mistyped: then nothing is true that would be said of an empty one.
    fn refuse_without_data(&self) -> Result<(), Failure> {
        match &self.target {
            Opening::Embedded(options) if !options.data.exists() => Err(Failure::usage(format!(
                "there is no data directory {}; `teal apply` makes it",
                options.data.display()
            ))),
            _ => Ok(()),
        }
    }

    /// Opens the target, or gives what the process says that has its data directory open. For what is read or asked in
    /// a moment: a signal ends that as it ends any process, but for what runs on a server.
    pub(crate) fn open_or_running(&self) -> Result<OpenOrRunning, Failure> {
        self.refuse_without_data()?;
        let Opening::Embedded(options) = &self.target else {
            return Ok(OpenOrRunning::Open(self.open()?));
        };
        match open_embedded(options)? {
            Embedded::Open(engine) => Ok(OpenOrRunning::Open(Box::new(engine))),
            Embedded::InUse { running: Some(running), .. } => {
                Ok(OpenOrRunning::Running { data: absolute(options)?, running })
            }
            Embedded::InUse { error, running: None } => Err(error.into()),
        }
    }

    /// The limits of the project, which hold where nothing else was said.
    pub(crate) fn limits(&self) -> Limits {
        self.config.migrate.limits()
    }

    /// Loads the models and opens the target, at the same time.
    pub(crate) fn load_and_open(&self) -> Result<Opened, Failure> {
        let loading = Loading::start(&self.directory, &self.load)?;
        let server = self.open_or_make()?;
        // There is nobody who could make it there.
        if self.scratch.is_some() {
            let database = quote_ident(&self.plan.database);
            server.session(&[])?.command(&format!("CREATE DATABASE IF NOT EXISTS {database}"))?;
        }
        self.finish(loading, server)
    }

    /// Waits for the models, of which those in SQL are read by the server, or by an engine that stands in.
    pub(crate) fn finish(
        &self,
        loading: Loading,
        server: Box<dyn teal_client::Server>,
    ) -> Result<Opened, Failure> {
        let own = match may_make_databases(server.as_ref())? {
            true => None,
            false => Some(OwnEngine::open()?),
        };
        let trials = own.as_ref().map_or(server.as_ref(), |own| &own.engine);
        let loaded = loading.finish(trials);
        // First: what one of several servers made is not found on another, which is no error of the models.
        server.refuse_several()?;
        let loaded = loaded?;
        secrets::learn(&loaded.schema);
        Ok(Opened { loaded, server, own })
    }

    pub(crate) fn operator_options(&self, flags: Option<&Migrate>) -> OperatorOptions {
        let mut options =
            OperatorOptions { interrupt: self.interrupt.clone(), ..OperatorOptions::default() };
        let file = &self.config.migrate;
        options.limits = file.limits();
        options.given_limits = flags.map(|flags| Limits::from(&flags.limits)).unwrap_or_default();
        if let Some(workers) = flags.and_then(|flags| flags.workers).or(file.workers) {
            options.backfill.workers = workers;
        }
        if let Some(rows) = flags.and_then(|flags| flags.chunk_rows).or(file.chunk_rows) {
            options.backfill.chunk_rows = rows.max(1);
        }
        if let Some(seconds) = flags.and_then(|flags| flags.fence_timeout).or(file.fence_timeout) {
            options.fence_timeout = Duration::from_secs(seconds);
        }
        if let Some(TimeSpan(kept)) = file.retention {
            options.retention = kept;
        }
        options.park = file.park.map(|TimeSpan(time)| time);
        options
    }
}

fn of_engine(
    common: &Common,
    data: PathBuf,
    config_file: Option<PathBuf>,
) -> Result<Opening, Failure> {
    Ok(Opening::Embedded(EngineOptions {
        library: teal_fetch::engine_library()?,
        data,
        config_file: common.engine_config.clone().or(config_file),
    }))
}

/// A data directory, opened.
enum Embedded {
    Open(EmbeddedEngine),
    /// By another process, and what that one says.
    InUse {
        error: ClientError,
        running: Option<Box<Running>>,
    },
}

/// Opens a data directory. Another process may have it open for a moment only, as `status` has, or
/// has just begun, or has ended its work and not yet itself: that is waited for.
fn open_embedded(options: &EngineOptions) -> Result<Embedded, Failure> {
    const PATIENCE: Duration = Duration::from_secs(3);
    let data = absolute(options)?;
    let began = Instant::now();
    loop {
        let error = match EmbeddedEngine::open(options.clone()) {
            Ok(engine) => return Ok(Embedded::Open(engine)),
            Err(error) => error,
        };
        let ClientError::DirectoryInUse { holder, .. } = &error else {
            return Err(error.into());
        };
        let running = running_beside(&data)?;
        match running.filter(|running| running.live.process.to_string() == *holder) {
            Some(running) => {
                return Ok(Embedded::InUse { error, running: Some(Box::new(running)) });
            }
            None if began.elapsed() > PATIENCE => {
                return Ok(Embedded::InUse { error, running: None });
            }
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// What the process says that has the data directory open.
pub(crate) fn running_beside(data: &Path) -> Result<Option<Running>, Failure> {
    Running::beside(data).map_err(|error| {
        Failure::failed(format!(
            "what the process says that has {} open cannot be read, from the file beside it: {error}",
            data.display()
        ))
    })
}

/// Bytes of a data directory with the definitions of some thousand tables, and no rows.
const DEFINITIONS: u64 = 512 << 20;

fn absolute(options: &EngineOptions) -> Result<PathBuf, Failure> {
    Ok(std::path::absolute(&options.data)?)
}

fn plan_options(database: String, config: &Config) -> PlanOptions {
    let cutover = config.migrate.cutover.unwrap_or(Cutover::App);
    PlanOptions { database, cutover, allow_drop: Vec::new() }
}

fn load_options(database: String, config: &Config, common: &Common) -> LoadOptions {
    LoadOptions {
        database,
        folder: config.models.folder.clone(),
        time_limit: Duration::from_secs(common.model_timeout),
    }
}

fn of_server(server: &Server, project: &Path) -> Result<(String, Opening), Failure> {
    let options = server.options(project)?;
    Ok((options.address.database.clone(), Opening::Server(Box::new(options))))
}

fn may_make_databases(server: &dyn teal_client::Server) -> Result<bool, Failure> {
    #[derive(serde::Deserialize)]
    struct Row {
        readonly: u64,
    }
    let mut session = server.session(&[])?;
    let row = session.row::<Row>("SELECT toUInt64(getSetting('readonly')) AS readonly")?;
    if row.readonly != 0 {
        return Ok(false);
    }
    // Where the server cannot be asked, it will say so itself.
    Ok(has_rights(session.as_mut(), &SCRATCH_RIGHTS, "_teal_shadow.*")?.unwrap_or(true))
}
