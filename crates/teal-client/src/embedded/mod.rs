//! ClickHouse as a library in this process: no server, no container.

mod connection;
mod exit;
mod library;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use connection::{EmbeddedConnection, Origin};
pub use exit::exit;
use library::Library;
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use teal_schema::{QualifiedName, quote_string};

use crate::neutral::settings_to_set_back;
use crate::pace::Pace;
use crate::session::{DROPS_OF_ANY_SIZE, LARGE_STATEMENTS};
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
    pace: Pace,
    /// What the profile of the configuration says that teal's sessions must not.
    set_back: OnceLock<Vec<(String, String)>>,
    /// Kept open so that the engine stays up between sessions.
    _keeper: Mutex<library::RawConnection>,
}

/// The engine that this process has open.
static OPENED: Mutex<Weak<Inner>> = Mutex::new(Weak::new());

impl EmbeddedEngine {
    /// Loads the library and opens the data directory.
    ///
    /// # Errors
    /// When the library cannot be loaded, or the directory is in use, corrupt or not writable.
    pub fn open(mut options: EngineOptions) -> Result<Self, ClientError> {
        // An INSERT into a table takes a relative path twice (26.7).
        if let Ok(absolute) = std::path::absolute(&options.data) {
            options.data = absolute;
        }
        let failed = |reason: String| ClientError::Open { path: options.data.clone(), reason };
        // The engine would make another directory, whose name is almost that.
        if options.data.to_str().is_none() {
            return Err(failed("its path is not UTF-8".to_owned()));
        }
        // The engine would start without it, and say nothing.
        if let Some(file) = options.config_file.as_ref().filter(|file| !file.is_file()) {
            return Err(failed(format!("there is no configuration file {}", file.display())));
        }
        refuse_if_in_use(&options.data)?;
        let library = Library::load(&options.library)?;
        // Held until the engine is open, so that of two calls the second sees the first.
        let mut opened = OPENED.lock();
        if let Some(other) = opened.upgrade() {
            return Err(failed(format!(
                "this process has {} open, and the engine has one data directory open at a time",
                other.options.data.display()
            )));
        }
        std::fs::create_dir_all(&options.data).map_err(|error| failed(error.to_string()))?;
        let Some(keeper) = library.connect(&boot_arguments(&options)) else {
            // Another process may have come first since.
            refuse_if_in_use(&options.data)?;
            return Err(failed(
                "the engine refused it; its reason stands above on the standard error".to_owned(),
            ));
        };
        let inner = Arc::new(Inner {
            library,
            options,
            gate: WriteGate::default(),
            pace: Pace::default(),
            set_back: OnceLock::new(),
            _keeper: Mutex::new(keeper),
        });
        *opened = Arc::downgrade(&inner);
        Ok(Self { inner })
    }

    pub fn data_directory(&self) -> &Path {
        &self.inner.options.data
    }

    fn connect(
        &self,
        settings: Settings<'_>,
        origin: Origin,
    ) -> Result<Box<dyn Session>, ClientError> {
        let arguments = boot_arguments(&self.inner.options);
        let mut raw = self.inner.library.connect(&arguments).ok_or_else(|| ClientError::Open {
            path: self.inner.options.data.clone(),
            reason: "the engine refused another connection".to_owned(),
        })?;
        if !settings.is_empty() {
            // Not as arguments: the engine passes over those that it does not know.
            let assignments = settings
                .iter()
                .map(|(name, value)| format!("{name} = {}", quote_string(value)))
                .collect::<Vec<_>>();
            raw.query(&format!("SET {}", assignments.join(", ")), "Null")?;
        }
        Ok(Box::new(EmbeddedConnection::new(raw, self.clone(), origin)))
    }

    fn set_back(&self) -> Result<&[(String, String)], ClientError> {
        let Inner { options, set_back, .. } = &*self.inner;
        if options.config_file.is_none() {
            return Ok(&[]);
        }
        if let Some(known) = set_back.get() {
            return Ok(known);
        }
        let found = settings_to_set_back(self.connect(&[], Origin::Teal)?.as_mut())?;
        Ok(set_back.get_or_init(|| found))
    }

    fn gate(&self) -> &WriteGate {
        &self.inner.gate
    }

    fn pace(&self) -> &Pace {
        &self.inner.pace
    }
}

impl Server for EmbeddedEngine {
    fn session(&self, settings: Settings<'_>) -> Result<Box<dyn Session>, ClientError> {
        // Async inserts would leave teal's own rows in a buffer after the statement has ended.
        let mut all = vec![
            ("log_comment", TEAL_LOG_COMMENT),
            ("async_insert", "0"),
            ("output_format_json_quote_64bit_integers", "0"),
        ];
        all.extend(LARGE_STATEMENTS);
        // What is sent for the third time or so is compiled (26.7). That takes 40 to 100 ms, and they may
        // fall into the moment in which the write gate is closed.
        all.extend([("compile_expressions", "0"), ("compile_aggregate_expressions", "0")]);
        all.extend(DROPS_OF_ANY_SIZE);
        let set_back = self.set_back()?;
        all.extend(set_back.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        all.extend_from_slice(settings);
        self.connect(&all, Origin::Teal)
    }

    fn user_session(&self, settings: Settings<'_>) -> Result<Box<dyn Session>, ClientError> {
        self.connect(settings, Origin::User)
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

    fn exclusive_directory(&self) -> Option<&Path> {
        Some(self.data_directory())
    }

    fn sync_definition(&self, of: &QualifiedName) -> Result<(), ClientError> {
        let database = self.data_directory().join("metadata").join(as_file_name(&of.database));
        let sync = |path: &Path| std::fs::File::open(path)?.sync_all();
        sync(&database.join(format!("{}.sql", as_file_name(&of.name))))
            .and_then(|()| sync(&database))
            .map_err(|error| ClientError::Open {
                path: self.data_directory().to_owned(),
                reason: format!("the definition of {of} cannot be written to the disk: {error}"),
            })
    }

    fn sync(&self) -> Result<(), ClientError> {
        let failed = |error: std::io::Error| ClientError::Open {
            path: self.data_directory().to_owned(),
            reason: format!("what was written cannot be brought to the disk: {error}"),
        };
        let directory = std::fs::File::open(self.data_directory()).map_err(failed)?;
        rustix::fs::syncfs(&directory).map_err(|error| failed(error.into()))
    }

    fn users_pace(&self, within: Duration) -> Option<Vec<Duration>> {
        Some(self.pace().within(within))
    }
}

/// As ClickHouse names files after tables.
fn as_file_name(name: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_');
    utf8_percent_encode(name, KEPT).to_string()
}

fn boot_arguments(options: &EngineOptions) -> Vec<String> {
    let mut arguments = vec![format!("--path={}", options.data.display())];
    if let Some(config_file) = &options.config_file {
        arguments.push(format!("--config-file={}", config_file.display()));
    }
    arguments
}

fn refuse_if_in_use(data: &Path) -> Result<(), ClientError> {
    match holder_of(data) {
        None => Ok(()),
        Some(holder) => Err(ClientError::DirectoryInUse { path: data.to_owned(), holder }),
    }
}

/// The pid of the process that has a data directory open.
///
/// The engine locks `status` in its data directory, but tells the one who comes second on the
/// standard error only. Asking for the same lock first gives an error that can be shown.
pub fn holder_of(data: &Path) -> Option<String> {
    use rustix::fs::{FlockOperation, flock};

    let path = data.join("status");
    let status = std::fs::File::open(&path).ok()?;
    flock(&status, FlockOperation::NonBlockingLockExclusive).err()?;
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let pid = text.lines().find_map(|line| line.strip_prefix("PID: "));
    Some(pid.unwrap_or("unknown").to_owned())
}
