use std::path::Path;
use std::time::Duration;

use teal_client::{EmbeddedEngine, EngineOptions};
use teal_migrate::OperatorOptions;
use teal_models::LoadOptions;
use teal_plan::{Cutover, PlanOptions};

use crate::cli::{Common, Migrate};
use crate::config::{Config, Target};
use crate::failure::Failure;

/// A project and the target that a command is about.
pub(crate) struct Project {
    pub(crate) config: Config,
    pub(crate) engine: EngineOptions,
    pub(crate) plan: PlanOptions,
    pub(crate) load: LoadOptions,
}

impl Project {
    /// Reads the configuration; flags come before it.
    pub(crate) fn read(common: &Common) -> Result<Self, Failure> {
        let config = Config::read(&common.project)?;
        let Target::Embedded { path, database, config: engine_config } =
            config.target(&common.target)?;
        let engine = EngineOptions {
            library: teal_fetch::engine_library()?,
            data: common.data.clone().unwrap_or_else(|| common.project.join(path)),
            config_file: common
                .engine_config
                .clone()
                .or_else(|| engine_config.as_ref().map(|file| common.project.join(file))),
        };
        Ok(Self {
            plan: PlanOptions {
                database: database.clone(),
                cutover: config.migrate.cutover.unwrap_or(Cutover::App),
            },
            load: LoadOptions { folder: config.models.folder.clone(), ..LoadOptions::default() },
            engine,
            config,
        })
    }

    pub(crate) fn open(&self) -> Result<EmbeddedEngine, Failure> {
        Ok(EmbeddedEngine::open(self.engine.clone())?)
    }

    /// Loads the models and opens the engine, at the same time.
    pub(crate) fn load_and_open(
        &self,
        directory: &Path,
    ) -> Result<(teal_models::Loaded, EmbeddedEngine), Failure> {
        std::thread::scope(|scope| {
            let loading = scope.spawn(|| teal_models::load(directory, &self.load));
            let engine = self.open();
            let loaded = loading.join().map_err(|_| {
                Failure::failed("loading the models ended in a panic, which is a bug")
            })?;
            Ok((loaded?, engine?))
        })
    }

    pub(crate) fn operator_options(&self, flags: Option<&Migrate>) -> OperatorOptions {
        let mut options = OperatorOptions::default();
        let file = &self.config.migrate;
        if let Some(workers) = flags.and_then(|flags| flags.workers).or(file.workers) {
            options.backfill.workers = workers;
        }
        if let Some(rows) = flags.and_then(|flags| flags.chunk_rows).or(file.chunk_rows) {
            options.backfill.chunk_rows = rows.max(1);
        }
        if let Some(seconds) = flags.and_then(|flags| flags.fence_timeout).or(file.fence_timeout) {
            options.fence_timeout = Duration::from_secs(seconds);
        }
        options
    }
}
