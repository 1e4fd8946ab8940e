//! Directories for an engine's data that go with the command.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, StatVfs, flock, statvfs};
use rustix::process::geteuid;

const MEMORY: &str = "/dev/shm";

/// In each of them, with its own path: what has no such file, or that of another, is not teal's to remove.
const MARK: &str = ".teal-passing";

/// Those of this process.
static HELD: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Goes when it is dropped, by [`remove_held`], or else when another teal looks for what was left.
pub(crate) struct PassingDirectory {
    directory: PathBuf,
    /// As long as it is open, no other teal takes the directory for one that a killed process has left.
    _lock: File,
}

impl PassingDirectory {
    /// In memory, where there is room for so many bytes and nobody has named another place: the engine
    /// makes some ten files for each table and each part, and a disk takes as long for them as the engine
    /// for the rest, or longer.
    pub(crate) fn in_memory(prefix: &str, bytes: u64) -> io::Result<Self> {
        let free = |stat: StatVfs| stat.f_bavail * stat.f_frsize;
        let (memory, disk) = (Path::new(MEMORY), std::env::temp_dir());
        remove_left(&disk, prefix);
        if is_elsewhere() {
            return Self::locked_in(&disk, prefix);
        }
        remove_left(memory, prefix);
        match statvfs(memory).is_ok_and(|stat| free(stat) >= bytes) {
            true => Self::locked_in(memory, prefix).or_else(|_| Self::locked_in(&disk, prefix)),
            false => Self::locked_in(&disk, prefix),
        }
    }

    fn locked_in(parent: &Path, prefix: &str) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
        let lock = File::open(directory.path())?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        // Behind the lock: without the mark, nobody else touches it.
        std::fs::write(directory.path().join(MARK), directory.path().as_os_str().as_bytes())?;
        let directory = directory.keep();
        HELD.lock().push(directory.clone());
        Ok(Self { directory, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }
}

impl Drop for PassingDirectory {
    fn drop(&mut self) {
        HELD.lock().retain(|path| *path != self.directory);
        let _ = remove(&self.directory);
    }
}

/// Where such a directory is, as a person is told.
pub(crate) fn place(path: &Path) -> &'static str {
    match path.starts_with(MEMORY) {
        true => "in memory",
        false if is_elsewhere() => "where TMPDIR says, and not in memory",
        false => "not in memory, where there is no room",
    }
}

/// For a process that ends without destroying anything. The engine may still write there, so what is
/// made meanwhile is for the next one to remove.
pub(crate) fn remove_held() {
    const TIMES: usize = 3;
    for path in HELD.lock().drain(..) {
        let _ = (0..TIMES).find(|_| remove(&path).is_ok());
    }
}

/// Somebody has named another place than memory.
fn is_elsewhere() -> bool {
    std::env::var_os("TMPDIR").is_some()
}

/// Takes the lock, where no process has it.
fn try_lock(directory: &File) -> bool {
    flock(directory, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Gives room back that processes hold which were killed. What another user has is not ours.
fn remove_left(parent: &Path, prefix: &str) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_named = entry.file_name().to_string_lossy().starts_with(prefix);
        let is_ours = entry
            .metadata()
            .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == geteuid().as_raw());
        if is_named
            && is_ours
            && is_marked(&entry.path())
            && let Ok(directory) = File::open(entry.path())
            && try_lock(&directory)
        {
            let _ = remove(&entry.path());
        }
    }
}

/// Made by a teal, in this place: a copy or what was moved, as to keep it, is the user's.
fn is_marked(directory: &Path) -> bool {
    let mark = std::fs::read(directory.join(MARK));
    mark.is_ok_and(|mark| mark == directory.as_os_str().as_bytes())
}

/// With the mark at the last, so that another teal can go on where this one does not come to the end.
fn remove(directory: &Path) -> io::Result<()> {
    remove_within(directory, |name| name != MARK)?;
    std::fs::remove_dir_all(directory)
}

/// Removes what the directory has under these names.
pub(crate) fn remove_within(directory: &Path, is_of_it: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if is_of_it(&entry.file_name().to_string_lossy()) {
            match entry.file_type()?.is_dir() {
                true => std::fs::remove_dir_all(entry.path())?,
                false => std::fs::remove_file(entry.path())?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_used_stays_until_its_process_ends() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = parent.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("data"), "x").unwrap();
            path
        };
        let marked = |name: &str| {
            let path = make(name);
            std::fs::write(path.join(MARK), path.as_os_str().as_bytes()).unwrap();
            path
        };
        let (left, others) = (marked("teal-demo-left"), marked("others"));
        let (users, moved) = (make("teal-demo-users"), parent.path().join("teal-demo-kept"));
        std::fs::rename(marked("teal-demo-moved"), &moved).unwrap();
        let used = PassingDirectory::locked_in(parent.path(), "teal-demo-").unwrap();
        let dropped = PassingDirectory::locked_in(parent.path(), "teal-demo-").unwrap();
        let gone = dropped.path().to_owned();
        drop(dropped);
        assert!(!gone.exists() && !HELD.lock().contains(&gone));
        remove_left(parent.path(), "teal-demo-");
        assert!(!left.exists());
        assert!(others.exists() && users.exists() && moved.exists() && used.path().exists());
        remove_within(&moved, |name| name == "data").unwrap();
        assert!(moved.join(MARK).exists() && !moved.join("data").exists());
        std::fs::write(used.path().join("data"), "x").unwrap();
        remove_held();
        assert!(!used.path().exists());
    }
}
