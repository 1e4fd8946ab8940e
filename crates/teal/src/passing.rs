//! Directories for an engine's data that go with the command.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, StatVfs, flock, statvfs};
use tempfile::TempDir;

const MEMORY: &str = "/dev/shm";

/// One that was made a moment ago may not be locked yet.
const YOUNG: Duration = Duration::from_secs(60);

/// Goes when it is dropped.
pub(crate) struct PassingDirectory {
    directory: TempDir,
    /// As long as it is open, no other teal takes the directory for one that a killed process has left.
    _lock: Option<File>,
}

impl PassingDirectory {
    pub(crate) fn on_disk(prefix: &str) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix(prefix).tempdir()?;
        Ok(Self { directory, _lock: None })
    }

    /// In memory, where there is room for so many bytes and nobody has named another place: the engine
    /// makes some ten files for each table and each part, and a disk takes as long for them as the engine
    /// for the rest, or longer.
    pub(crate) fn in_memory(prefix: &str, bytes: u64) -> io::Result<Self> {
        let free = |stat: StatVfs| stat.f_bavail * stat.f_frsize;
        if std::env::var_os("TMPDIR").is_some() {
            return Self::on_disk(prefix);
        }
        remove_left(Path::new(MEMORY), prefix);
        match statvfs(MEMORY).is_ok_and(|stat| free(stat) >= bytes) {
            true => Self::locked_in(Path::new(MEMORY), prefix).or_else(|_| Self::on_disk(prefix)),
            false => Self::on_disk(prefix),
        }
    }

    fn locked_in(parent: &Path, prefix: &str) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
        let lock = File::open(directory.path())?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { directory, _lock: Some(lock) })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// It stays.
    pub(crate) fn keep(self) -> PathBuf {
        self.directory.keep()
    }
}

/// Gives memory back that processes hold which were killed. What cannot be removed is somebody else's.
fn remove_left(parent: &Path, prefix: &str) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(prefix);
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let is_old = modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > YOUNG));
        if is_ours
            && is_old
            && let Ok(directory) = File::open(entry.path())
            && flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_used_stays() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str, age: Duration| {
            let path = parent.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("data"), "x").unwrap();
            File::open(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
            path
        };
        let left = make("teal-demo-left", 2 * YOUNG);
        let young = make("teal-demo-young", Duration::ZERO);
        let others = make("others", 2 * YOUNG);
        let used = PassingDirectory::locked_in(parent.path(), "teal-demo-").unwrap();
        File::open(used.path()).unwrap().set_modified(SystemTime::now() - 2 * YOUNG).unwrap();
        remove_left(parent.path(), "teal-demo-");
        assert!(!left.exists());
        assert!(young.exists() && others.exists() && used.path().exists());
    }
}
