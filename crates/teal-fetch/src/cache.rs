use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use etcetera::BaseStrategy;
use sha2::{Digest, Sha512};

use crate::Package;

/// Where fetched files are kept, and the npm client that brings them.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
    npm: PathBuf,
}

/// How far a fetch has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub stage: Stage,
    pub bytes: u64,
    pub of: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Downloading,
    Unpacking,
}

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("TEAL_LIBCHDB names {path}, where there is no file")]
    NoSuchLibrary { path: PathBuf },
    #[error(
        "the embedded engine is not here ({looked_in} is missing): run `teal engine install`, or set TEAL_LIBCHDB to a libchdb.so",
        looked_in = .looked_in.display()
    )]
    EngineMissing { looked_in: PathBuf },
    #[error(
        "the engine's package is for Linux on x86-64 with glibc; set TEAL_LIBCHDB to a libchdb.so for this machine"
    )]
    Platform,
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
        "{package} is not what was expected: its SHA-512 is {found}, not {expected}. Nothing of it was kept"
    )]
    Integrity { package: String, expected: String, found: String },
    #[error("{package} has no file {file}")]
    FileMissing { package: String, file: String },
    #[error("{path}: {source}", path = .path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl Cache {
    /// The user's cache: `TEAL_CACHE_DIR`, else `teal` in the user's cache directory.
    ///
    /// # Errors
    /// When there is neither.
    pub fn of_user() -> Result<Self, FetchError> {
        let directory = match std::env::var_os("TEAL_CACHE_DIR") {
            Some(directory) => PathBuf::from(directory),
            None => etcetera::base_strategy::choose_base_strategy()
                .map_err(|_| FetchError::NoHome)?
                .cache_dir()
                .join("teal"),
        };
        let npm = std::env::var_os("TEAL_NPM").map_or_else(|| "npm".into(), PathBuf::from);
        Ok(Self { directory, npm })
    }

    pub fn new(directory: impl Into<PathBuf>, npm: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), npm: npm.into() }
    }

    /// Where the package's file is, once it has been fetched.
    pub fn path(&self, package: &Package) -> PathBuf {
        let file = package.file.rsplit('/').next().unwrap_or(package.file);
        self.directory.join(package.name.replace('/', "+")).join(package.version).join(file)
    }

    pub fn cached(&self, package: &Package) -> Option<PathBuf> {
        Some(self.path(package)).filter(|path| path.is_file())
    }

    /// Brings the package's file, unless it is there.
    ///
    /// # Errors
    /// When npm cannot bring it, it is not what was pinned, or the cache cannot be written.
    pub fn fetch(
        &self,
        package: &Package,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf, FetchError> {
        let path = self.path(package);
        if path.is_file() {
            return Ok(path);
        }
        let directory = path.parent().unwrap_or(&self.directory);
        fs::create_dir_all(directory).map_err(at(directory))?;
        // Of two processes, the second waits for the first and finds the file. The lock goes with
        // the process.
        let lock_path = directory.join(".lock");
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        lock.lock().map_err(at(&lock_path))?;
        if path.is_file() {
            return Ok(path);
        }
        let work = tempfile::Builder::new()
            .prefix(".fetch-")
            .tempdir_in(directory)
            .map_err(at(directory))?;
        let archive = self.download(package, work.path(), progress)?;
        check(package, &archive)?;
        let unpacked = work.path().join("file");
        unpack(package, &archive, &unpacked, progress)?;
        // Whole or not at all.
        fs::rename(&unpacked, &path).map_err(at(&path))?;
        Ok(path)
    }

    fn download(
        &self,
        package: &Package,
        work: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf, FetchError> {
        /// Between two looks at how much is there.
        const LOOK: Duration = Duration::from_millis(200);
        let wanted = format!("{}@{}", package.name, package.version);
        let said = work.join("npm.stderr");
        let mut npm = Command::new(&self.npm)
            .args(["pack", &wanted, "--silent", "--ignore-scripts", "--loglevel=error"])
            .arg("--pack-destination")
            .arg(work)
            // npm reads a project's settings where it runs; it should find the user's only.
            .current_dir(work)
            // npm writes the download here first, and leaves nothing in the user's own cache.
            .arg("--cache")
            .arg(work.join("npm-cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&said).map_err(at(&said))?)
            .spawn()
            .map_err(|source| FetchError::NoNpm { npm: self.npm.clone(), source })?;
        let status = loop {
            if let Some(status) = npm.try_wait().map_err(at(&self.npm))? {
                break status;
            }
            let bytes = bytes_below(work).min(package.download_bytes);
            progress(Progress { stage: Stage::Downloading, bytes, of: package.download_bytes });
            std::thread::sleep(LOOK);
        };
        let archive = fs::read_dir(work)
            .map_err(at(work))?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "tgz"));
        match archive {
            Some(archive) if status.success() => Ok(archive),
            _ => {
                let text = fs::read_to_string(&said).map_err(at(&said))?;
                let said = text
                    .lines()
                    .filter(|line| !line.contains("A complete log of this run"))
                    .map(|line| format!("  {line}"))
                    .collect::<Vec<_>>()
                    .join("\n");
                Err(FetchError::Npm { package: wanted, said })
            }
        }
    }
}

fn check(package: &Package, archive: &Path) -> Result<(), FetchError> {
    let mut file = File::open(archive).map_err(at(archive))?;
    let mut hash = Sha512::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(at(archive))?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else {
            break;
        };
        hash.update(piece);
    }
    let hash = base64::engine::general_purpose::STANDARD.encode(hash.finalize());
    let found = format!("sha512-{hash}");
    match found == package.integrity {
        true => Ok(()),
        false => Err(FetchError::Integrity {
            package: format!("{}@{}", package.name, package.version),
            expected: package.integrity.to_owned(),
            found,
        }),
    }
}

fn unpack(
    package: &Package,
    archive: &Path,
    to: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), FetchError> {
    let file = File::open(archive).map_err(at(archive))?;
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
    for entry in tar.entries().map_err(at(archive))? {
        let mut entry = entry.map_err(at(archive))?;
        let path = entry.path().map_err(at(archive))?.into_owned();
        // An npm package's files lie below one directory, `package` by custom.
        if path.components().skip(1).collect::<PathBuf>() != Path::new(package.file) {
            continue;
        }
        let of = entry.size();
        let mut out = File::create(to).map_err(at(to))?;
        let mut bytes = 0;
        loop {
            let copied = io::copy(&mut (&mut entry).take(16 << 20), &mut out).map_err(at(to))?;
            if copied == 0 {
                break;
            }
            bytes += copied;
            progress(Progress { stage: Stage::Unpacking, bytes, of });
        }
        return out.sync_all().map_err(at(to));
    }
    Err(FetchError::FileMissing {
        package: format!("{}@{}", package.name, package.version),
        file: package.file.to_owned(),
    })
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

fn at(path: &Path) -> impl Fn(io::Error) -> FetchError + '_ {
    move |source| FetchError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A directory with a stand-in for npm that packs one file and counts its calls.
    struct Fixture {
        directory: tempfile::TempDir,
        cache: Cache,
        package: Package,
    }

    fn fixture(script: &str) -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("package");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("thing.txt"), "the thing").unwrap();
        let archive = directory.path().join("made.tgz");
        let packed = Command::new("tar")
            .args(["czf"])
            .arg(&archive)
            .args(["-C", directory.path().to_str().unwrap(), "package"])
            .status()
            .unwrap();
        assert!(packed.success());
        let mut hash = Sha512::new();
        hash.update(fs::read(&archive).unwrap());
        let hash = base64::engine::general_purpose::STANDARD.encode(hash.finalize());
        let npm = directory.path().join("npm");
        let script = format!(
            "#!/bin/sh\necho called >> {0}/calls\nwhile [ \"$1\" != --pack-destination ]; do shift; done\n{script}",
            directory.path().display()
        )
        .replace("ARCHIVE", archive.to_str().unwrap());
        fs::write(&npm, script).unwrap();
        fs::set_permissions(&npm, fs::Permissions::from_mode(0o755)).unwrap();
        let package = Package {
            name: "@some/thing",
            version: "1.2.3",
            integrity: Box::leak(format!("sha512-{hash}").into_boxed_str()),
            file: "thing.txt",
            download_bytes: 100,
            title: "the thing",
        };
        let cache = Cache::new(directory.path().join("cache"), npm);
        Fixture { directory, cache, package }
    }

    fn calls(fixture: &Fixture) -> usize {
        let calls = fs::read_to_string(fixture.directory.path().join("calls"));
        calls.map_or(0, |text| text.lines().count())
    }

    #[test]
    fn a_file_is_fetched_once() {
        let fixture = fixture("cp ARCHIVE \"$2/some-thing.tgz\"");
        assert_eq!(fixture.cache.cached(&fixture.package), None);
        for _ in 0..2 {
            let path = fixture.cache.fetch(&fixture.package, &mut |_| ()).unwrap();
            assert_eq!(fs::read_to_string(path).unwrap(), "the thing");
        }
        assert_eq!(calls(&fixture), 1);
    }

    #[test]
    fn two_at_once_fetch_once() {
        let fixture = fixture("sleep 0.3; cp ARCHIVE \"$2/some-thing.tgz\"");
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| fixture.cache.fetch(&fixture.package, &mut |_| ()).unwrap());
            }
        });
        assert_eq!(calls(&fixture), 1);
    }

    #[test]
    fn what_is_not_what_was_pinned_is_refused_and_not_kept() {
        let fixture = fixture("cp ARCHIVE \"$2/some-thing.tgz\"; echo more >> \"$2/some-thing.tgz\"");
        let error = fixture.cache.fetch(&fixture.package, &mut |_| ()).unwrap_err();
        assert!(matches!(error, FetchError::Integrity { .. }), "{error}");
        let kept = fs::read_dir(fixture.cache.path(&fixture.package).parent().unwrap()).unwrap();
        let kept = kept.flatten().map(|entry| entry.file_name()).collect::<Vec<_>>();
        assert_eq!(kept, [".lock"]);
    }

    #[test]
    fn what_npm_says_is_shown() {
        let fixture = fixture("echo 'npm error network down' >&2; exit 1");
        let error = fixture.cache.fetch(&fixture.package, &mut |_| ()).unwrap_err().to_string();
        assert!(error.contains("network down") && error.contains("@some/thing@1.2.3"), "{error}");
    }

    #[test]
    fn a_missing_npm_is_named_with_what_to_do() {
        let fixture = fixture("");
        let cache = Cache::new(fixture.directory.path().join("cache"), "/nowhere/npm");
        let error = cache.fetch(&fixture.package, &mut |_| ()).unwrap_err().to_string();
        assert!(error.contains("/nowhere/npm") && error.contains("install Node.js"), "{error}");
    }
}
