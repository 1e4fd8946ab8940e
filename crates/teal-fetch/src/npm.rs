//! The npm client, as the one who downloads.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::error::at;
use crate::{FetchError, Package, Progress, Stage};

/// Between two looks at how much is there.
const LOOK: Duration = Duration::from_millis(200);

/// Lines of npm's own words in an error.
const LINES_SHOWN: usize = 12;

/// Has npm bring the package's archive into `work`, an empty directory.
///
/// # Errors
/// When npm cannot be run, or cannot bring it.
pub(crate) fn download(
    npm: &Path,
    package: &Package,
    work: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, FetchError> {
    let heard = work.join("npm.stderr");
    let own_cache = work.join("npm-cache");
    let mut child = Command::new(npm)
        // `--silent` would hide npm's errors too.
        .args(["pack", &package.spec(), "--ignore-scripts", "--loglevel=error"])
        .arg("--pack-destination")
        .arg(work)
        // npm reads a project's settings where it runs; it should find the user's only.
        .current_dir(work)
        // npm writes the download here first, and leaves nothing in the user's own cache.
        .arg("--cache")
        .arg(&own_cache)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&heard).map_err(at(&heard))?)
        .spawn()
        .map_err(|source| FetchError::NoNpm { npm: npm.to_owned(), source })?;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(at(npm))? {
            break status;
        }
        let bytes = bytes_below(&own_cache).min(package.download_bytes);
        progress(Progress { stage: Stage::Downloading, bytes, of: package.download_bytes });
        std::thread::sleep(LOOK);
    };
    match archive_in(work)? {
        Some(archive) if status.success() => {
            // Half of the disk's need, and of no use from here on.
            fs::remove_dir_all(&own_cache).ok();
            Ok(archive)
        }
        _ => {
            let text = fs::read(&heard).map_err(at(&heard))?;
            Err(FetchError::Npm { package: package.spec(), said: abridged(&text) })
        }
    }
}

fn archive_in(work: &Path) -> Result<Option<PathBuf>, FetchError> {
    Ok(fs::read_dir(work)
        .map_err(at(work))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz")))
}

/// What npm said, without what is of no use to the reader.
fn abridged(heard: &[u8]) -> String {
    let heard = String::from_utf8_lossy(heard);
    let lines = heard
        .lines()
        // The log lies in the working directory, which is gone by then.
        .filter(|line| !line.trim().is_empty() && !line.contains("A complete log of this run"))
        .take(LINES_SHOWN)
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>();
    match lines.is_empty() {
        true => "  npm ended without an archive and without a word".to_owned(),
        false => lines.join("\n"),
    }
}

fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
