//! ClickHouse as a library in this process: no server, no container.

mod connection;
mod library;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use connection::{EmbeddedConnection, Origin};
use library::Library;
use parking_lot::Mutex;

use crate::{ClientError, Server, Session, Settings, TEAL_LOG_COMMENT, WriteGate};

/// How to open the embedded engine.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The `libchdb.so` to load.
    pub library: PathBuf,
    /// The data directory; made where it is missing.
    pub data: PathBuf,
    /// A ClickHouse configuration file, for disks, macros or limits.
    pub config_file: Option<PathBuf>,
}

/// An open data directory. One process can have it open, and one process can have one open.
#[derive(Clone)]
pub struct EmbeddedEngine {
    inner: Arc<Inner>,
}

struct Inner {
    library: &'static Library,
    options: EngineOptions,
    gate: WriteGate,
    /// Kept open so that the engine stays up between sessions.
    _keeper: Mutex<library::RawConnection>,
}

impl EmbeddedEngine {
    /// Loads the library and opens the data directory.
    ///
    /// # Errors
    /// When the library cannot be loaded, or the directory is in use, corrupt or not writable.
    pub fn open(options: EngineOptions) -> Result<Self, ClientError> {
        let failed = |reason: String| ClientError::Open { path: options.data.clone(), reason };
        std::fs::create_dir_all(&options.data).map_err(|error| failed(error.to_string()))?;
        refuse_if_in_use(&options.data)?;
        let library = Library::load(&options.library)?;
        let keeper = library.connect(&boot_arguments(&options)).ok_or_else(|| {
            failed(
                "the engine refused it; its reason stands above on the standard error".to_owned(),
            )
        })?;
        let inner =
            Inner { library, options, gate: WriteGate::default(), _keeper: Mutex::new(keeper) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Opens a session for the users' statements: its writes pass the write gate.
    ///
    /// # Errors
    /// When the engine refuses a setting.
    pub fn user_session(&self, settings: Settings<'_>) -> Result<Box<dyn Session>, ClientError> {
        self.connect(settings, Origin::User)
    }

    /// The version of the library, such as `26.7.3`.
    pub fn library_version(&self) -> String {
        self.inner.library.version()
    }

    pub fn data_directory(&self) -> &Path {
        &self.inner.options.data
    }

    fn connect(
        &self,
        settings: Settings<'_>,
        origin: Origin,
    ) -> Result<Box<dyn Session>, ClientError> {
        let mut arguments = boot_arguments(&self.inner.options);
        arguments.extend(settings.iter().map(|(name, value)| format!("--{name}={value}")));
        let raw = self.inner.library.connect(&arguments).ok_or_else(|| ClientError::Open {
            path: self.inner.options.data.clone(),
            reason: format!("the engine refused a connection with the settings {settings:?}"),
        })?;
        Ok(Box::new(EmbeddedConnection::new(raw, self.clone(), origin)))
    }

    fn gate(&self) -> &WriteGate {
        &self.inner.gate
    }
}

impl Server for EmbeddedEngine {
    fn session(&self, settings: Settings<'_>) -> Result<Box<dyn Session>, ClientError> {
        // Async inserts would leave teal's own rows in a buffer after the statement has ended.
        let mut all = vec![("log_comment", TEAL_LOG_COMMENT), ("async_insert", "0")];
        all.extend_from_slice(settings);
        self.connect(&all, Origin::Teal)
    }

    fn write_gate(&self) -> Option<&WriteGate> {
        Some(self.gate())
    }

    fn describe(&self) -> String {
        format!("embedded engine at {}", self.inner.options.data.display())
    }

    fn is_exclusive(&self) -> bool {
        true
    }
}

fn boot_arguments(options: &EngineOptions) -> Vec<String> {
    let mut arguments = vec![format!("--path={}", options.data.display())];
    if let Some(config_file) = &options.config_file {
        arguments.push(format!("--config-file={}", config_file.display()));
    }
    arguments
}

/// The engine locks `status` in its data directory, but tells the one who comes second on the
/// standard error only. Asking for the same lock first gives an error that can be shown.
fn refuse_if_in_use(data: &Path) -> Result<(), ClientError> {
    use rustix::fs::{FlockOperation, flock};

    let path = data.join("status");
    let Ok(status) = std::fs::File::open(&path) else {
        return Ok(());
    };
    match flock(&status, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(_) => {
            let holder = std::fs::read_to_string(&path)
                .ok()
                .and_then(|text| {
                    Some(text.lines().find_map(|l| l.strip_prefix("PID: "))?.to_owned())
                })
                .unwrap_or_else(|| "unknown".to_owned());
            Err(ClientError::DirectoryInUse { path: data.to_owned(), holder })
        }
    }
}
