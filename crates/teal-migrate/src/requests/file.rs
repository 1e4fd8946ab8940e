//! The requests beside a data directory that another process has open.
//!
//! Interleavings, each step under the file's lock:
//! - Taken in between an asker's opening the file and its writing: the file has no name any more, which
//!   the asker sees, and it opens the new one.
//! - Killed between the table and the file's removal: the requests are found again, known by their
//!   ids, and not taken in twice.
//! - Written when the process that had the directory open has just ended: the next one takes it in.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::failpoint;
use crate::requests::{Request, RequestError, unreadable};

/// The requests beside a data directory, a line of JSON each.
pub(crate) struct RequestFile {
    path: PathBuf,
}

impl RequestFile {
    pub(crate) fn beside(data: &Path) -> Self {
        Self { path: crate::lock::live::beside(data, "requests") }
    }

    pub(crate) fn is_there(&self) -> bool {
        self.path.exists()
    }

    pub(crate) fn append(&self, request: &Request) -> Result<(), RequestError> {
        let mut line =
            serde_json::to_string(request).map_err(|error| unreadable(&self.place(), &error))?;
        line.push('\n');
        loop {
            let opened = std::fs::OpenOptions::new().create(true).append(true).open(&self.path);
            let mut file = opened.map_err(|error| self.failed(error))?;
            flock(&file, FlockOperation::LockExclusive)
                .map_err(|error| self.failed(error.into()))?;
            // Taken in since it was opened: what is written to it now, nobody reads.
            if is_removed(&file).map_err(|error| self.failed(error))? {
                continue;
            }
            let before = file.metadata().map_err(|error| self.failed(error))?.len();
            let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_data());
            return written.map_err(|error| {
                // Half a line would make the next one unreadable as well. The first error tells why.
                let _ = file.set_len(before);
                self.failed(error)
            });
        }
    }

    pub(crate) fn read(&self) -> Result<Vec<Request>, RequestError> {
        match std::fs::File::open(&self.path) {
            Ok(mut file) => {
                flock(&file, FlockOperation::LockExclusive)
                    .map_err(|error| self.failed(error.into()))?;
                self.read_open(&mut file)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn read_open(&self, file: &mut std::fs::File) -> Result<Vec<Request>, RequestError> {
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| self.failed(error))?;
        let read =
            |line| serde_json::from_str(line).map_err(|error| unreadable(&self.place(), &error));
        text.lines().filter(|line| !line.is_empty()).map(read).collect()
    }

    /// Hands the file's requests over, and removes the file when that has worked. Says whether there
    /// was a file.
    pub(crate) fn take_in(
        &self,
        take: impl FnOnce(Vec<Request>) -> Result<(), RequestError>,
    ) -> Result<bool, RequestError> {
        let mut file = match std::fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(self.failed(error)),
        };
        // Nobody else takes in, since only this process has the directory open; but some may write.
        flock(&file, FlockOperation::LockExclusive).map_err(|error| self.failed(error.into()))?;
        take(self.read_open(&mut file)?)?;
        failpoint::reached("requests-taken-in");
        std::fs::remove_file(&self.path).map_err(|error| self.failed(error))?;
        Ok(true)
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn failed(&self, source: std::io::Error) -> RequestError {
        RequestError::File { path: self.path.clone(), source }
    }
}

fn is_removed(file: &std::fs::File) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(file.metadata()?.nlink() == 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Ask;

    /// Askers and a taker at once: what an asker was told is written is taken, once.
    #[test]
    fn no_request_is_lost_or_doubled_while_the_file_is_taken_in() {
        use std::sync::atomic::{AtomicUsize, Ordering};

        const ASKERS: usize = 4;
        const EACH: usize = 50;
        let directory = tempfile::tempdir().unwrap();
        let file = RequestFile::beside(&directory.path().join("data"));
        let ended = AtomicUsize::new(0);
        let mut taken = Vec::new();
        std::thread::scope(|scope| {
            for _ in 0..ASKERS {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        file.append(&Request::new("events_1", Ask::Pause)).unwrap();
                    }
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
            loop {
                let last = ended.load(Ordering::SeqCst) == ASKERS;
                file.take_in(|requests| {
                    taken.extend(requests);
                    Ok(())
                })
                .unwrap();
                if last {
                    break;
                }
            }
        });
        assert_eq!(taken.len(), ASKERS * EACH);
        let ids = taken.iter().map(|request| &request.id).collect::<BTreeSet<_>>();
        assert_eq!(ids.len(), ASKERS * EACH);
        assert!(!file.is_there());
    }

    #[test]
    fn a_line_that_nobody_understands_is_an_error_that_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = RequestFile::beside(&directory.path().join("data"));
        std::fs::write(&file.path, "{\"id\":\"x\"}\n").unwrap();
        let error = file.read().unwrap_err().to_string();
        assert!(error.contains("data.requests"), "{error}");
    }
}
