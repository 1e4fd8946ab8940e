use std::env;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

use crate::error::at;
use crate::{FetchError, Package, Platform, archive, npm};

/// Begins the names of the directories that hold a fetch under way.
const WORK_PREFIX: &str = ".fetch-";

/// Where fetched files are kept, and the npm client that brings them.
///
/// Layout: `<package>/<version>/<file>`, whole or not there at all.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
    npm: PathBuf,
}

/// How far a fetch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub stage: Stage,
    /// Bytes done in this stage, of `of` in all; both zero while waiting.
    pub bytes: u64,
    pub of: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Another process is fetching the same.
    Waiting,
    Downloading,
    Checking,
    Unpacking,
}

impl Cache {
    /// The user's cache: `TEAL_CACHE_DIR`, else `teal` in the user's cache directory. The npm
    /// client is the one that `TEAL_NPM` names, else the one in the search path.
    ///
    /// # Errors
    /// When there is neither a `TEAL_CACHE_DIR` nor a home directory.
    pub fn of_user() -> Result<Self, FetchError> {
        let directory = match set_variable("TEAL_CACHE_DIR") {
            Some(directory) => directory,
            None => etcetera::base_strategy::choose_base_strategy()
                .map_err(|_| FetchError::NoHome)?
                .cache_dir()
                .join("teal"),
        };
        Ok(Self::new(directory, set_variable("TEAL_NPM").unwrap_or_else(|| "npm".into())))
    }

    pub fn new(directory: impl Into<PathBuf>, npm: impl Into<PathBuf>) -> Self {
        // npm runs in a directory of its own, where relative paths mean something else.
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let npm = npm.into();
        let npm = if npm.components().count() > 1 { absolute(npm) } else { npm };
        Self { directory: absolute(directory.into()), npm }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the package's file is, once it has been fetched.
    pub fn path(&self, package: &Package) -> PathBuf {
        let file = package.file.rsplit('/').next().unwrap_or(package.file);
        self.directory_of(package).join(file)
    }

    pub fn cached(&self, package: &Package) -> Option<PathBuf> {
        Some(self.path(package)).filter(|path| path.is_file())
    }

    /// Brings the package's file, unless it is there.
    ///
    /// # Errors
    /// When the package is of no use on this machine, npm cannot bring it, it is not what was
    /// pinned, or the cache cannot be written.
    pub fn fetch(
        &self,
        package: &Package,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf, FetchError> {
        if let Some(path) = self.cached(package) {
            return Ok(path);
        }
        refuse_other_platform(package)?;
        self.fetch_alone(package, progress).map_err(|error| match error.is_full_disk() {
            true => FetchError::NoSpace {
                package: package.spec(),
                path: self.directory.clone(),
                needed_mb: package.needed_bytes() >> 20,
            },
            false => error,
        })
    }

    /// Of two processes, the second waits for the first and finds the file.
    fn fetch_alone(
        &self,
        package: &Package,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf, FetchError> {
        let directory = &self.directory_of(package);
        fs::create_dir_all(directory).map_err(at(directory))?;
        let lock_path = directory.join(".lock");
        // The lock goes with the process, however it ends.
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => {
                progress(Progress { stage: Stage::Waiting, bytes: 0, of: 0 });
                lock.lock().map_err(at(&lock_path))?;
            }
            Err(TryLockError::Error(error)) => return Err(at(&lock_path)(error)),
        }
        if let Some(path) = self.cached(package) {
            return Ok(path);
        }
        remove_leftovers(directory);
        let work = tempfile::Builder::new()
            .prefix(WORK_PREFIX)
            .tempdir_in(directory)
            .map_err(at(directory))?;
        let downloaded = npm::download(&self.npm, package, work.path(), progress)?;
        archive::check(package, &downloaded, progress)?;
        let unpacked = work.path().join("file");
        archive::unpack(package, &downloaded, &unpacked, progress)?;
        let path = self.path(package);
        fs::rename(&unpacked, &path).map_err(at(&path))?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(at(directory))?;
        Ok(path)
    }

    fn directory_of(&self, package: &Package) -> PathBuf {
        self.directory.join(package.name.replace('/', "+")).join(package.version)
    }
}

/// # Errors
/// When the package is for another platform than this teal.
pub(crate) fn refuse_other_platform(package: &Package) -> Result<(), FetchError> {
    match package.runs_on {
        Some(runs_on) if runs_on != Platform::HERE => {
            Err(FetchError::Platform { package: package.spec(), runs_on, here: Platform::HERE })
        }
        _ => Ok(()),
    }
}

/// An environment variable's path. An empty variable counts as unset.
pub(crate) fn set_variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Removes what a fetch that was killed left behind. Only the holder of the lock may.
fn remove_leftovers(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(WORK_PREFIX) {
            // What cannot be removed costs space, nothing else.
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}
