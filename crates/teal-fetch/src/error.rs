use std::io;
use std::path::{Path, PathBuf};

use crate::Platform;

/// Why a file is not here.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("TEAL_LIBCHDB names {path}, where there is no file", path = .path.display())]
    NoSuchLibrary { path: PathBuf },

    #[error(
        "the embedded engine is not here ({looked_in} is missing): run `teal engine install`, or set TEAL_LIBCHDB to a libchdb.so",
        looked_in = .looked_in.display()
    )]
    EngineMissing { looked_in: PathBuf },

    #[error(
        "{package} is for {runs_on}, and this teal is for {here}; set TEAL_LIBCHDB to a libchdb.so for this machine, or use a server"
    )]
    Platform { package: String, runs_on: Platform, here: Platform },

    #[error("there is no home directory to cache files in; set TEAL_CACHE_DIR")]
    NoHome,

    #[error(
        "cannot run the npm client ({npm}): {source}; install Node.js with npm, or set TEAL_NPM, or bring the file yourself (TEAL_LIBCHDB names an engine)",
        npm = .npm.display()
    )]
    NoNpm { npm: PathBuf, source: io::Error },

    #[error(
        "npm could not fetch {package}:\n{said}\n  Is the network there, and the registry that npm is set to?"
    )]
    Npm { package: String, said: String },

    #[error(
        "{package} is not what was expected: its hash is {found}, not {expected}. Nothing of it was kept; is npm set to a registry that can be trusted?"
    )]
    Integrity { package: String, expected: String, found: String },

    #[error("{package} has no file {file}")]
    FileMissing { package: String, file: String },

    #[error(
        "the disk of {path} is full: {package} needs about {needed_mb} MB there while it is fetched; free some, or set TEAL_CACHE_DIR to another disk",
        path = .path.display()
    )]
    NoSpace { package: String, path: PathBuf, needed_mb: u64 },

    #[error(
        "the cache cannot be written: {path}: {source}; set TEAL_CACHE_DIR to a directory that can",
        path = .path.display()
    )]
    NotWritable { path: PathBuf, source: io::Error },

    #[error("{path}: {source}", path = .path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Says at which path an error came.
pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> FetchError + '_ {
    move |source| {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotADirectory => FetchError::NotWritable { path, source },
            _ => FetchError::Io { path, source },
        }
    }
}

impl FetchError {
    /// Whether a full disk is behind the error.
    pub(crate) fn is_full_disk(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::Npm { said, .. } => said.contains("ENOSPC") || said.contains("EDQUOT"),
            _ => false,
        }
    }
}
