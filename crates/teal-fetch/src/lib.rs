//! Fetches what teal uses and does not ship: the embedded engine, and the demo's data. Both are
//! files of npm packages. The npm client downloads them, so the user's registry, proxy and
//! credentials hold; teal checks them against pinned hashes and caches the one file it needs.

mod cache;
mod package;

pub use cache::{Cache, FetchError, Progress, Stage};
pub use package::{ENGINE, FLIGHTS, Package};

use std::path::PathBuf;

/// The embedded engine's library: the one that `TEAL_LIBCHDB` names, else the cached one.
///
/// # Errors
/// When it has not been fetched yet, or `TEAL_LIBCHDB` names no file.
pub fn engine_library() -> Result<PathBuf, FetchError> {
    if let Some(path) = std::env::var_os("TEAL_LIBCHDB").map(PathBuf::from) {
        return match path.is_file() {
            true => Ok(path),
            false => Err(FetchError::NoSuchLibrary { path }),
        };
    }
    let cache = Cache::of_user()?;
    cache.cached(&ENGINE).ok_or(FetchError::EngineMissing { looked_in: cache.path(&ENGINE) })
}
