//! Fetching with a stand-in for npm, which packs one small file.
//! Clippy counts helpers as no tests, hence the leave to unwrap.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use sha2::{Digest as _, Sha512};
use teal_fetch::{Cache, FetchError, Package, Platform, Stage};

/// What the stand-in does where the real npm would download.
const BRINGS_IT: &str = "cp ARCHIVE \"$2/some-thing.tgz\"";

struct Fixture {
    directory: tempfile::TempDir,
    cache: Cache,
    package: Package,
}

impl Fixture {
    /// `script` is what npm does, with `$2` as the directory to pack to. Each of its calls is
    /// written down.
    fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let archive = packed(directory.path());
        let hash = Sha512::digest(fs::read(&archive).unwrap());
        let hash = base64::engine::general_purpose::STANDARD.encode(hash);
        let npm = directory.path().join("npm");
        let script = format!(
            "#!/bin/sh\necho \"$@\" >> {}/calls\nwhile [ \"$1\" != --pack-destination ]; do shift; done\n{script}",
            directory.path().display()
        );
        fs::write(&npm, script.replace("ARCHIVE", archive.to_str().unwrap())).unwrap();
        fs::set_permissions(&npm, fs::Permissions::from_mode(0o755)).unwrap();
        let package = Package {
            name: "@some/thing",
            version: "1.2.3",
            integrity: Box::leak(format!("sha512-{hash}").into_boxed_str()),
            file: "data/thing.txt",
            download_bytes: 100,
            file_bytes: 9,
            runs_on: Some(Platform::HERE),
            title: "the thing",
        };
        let cache = Cache::new(directory.path().join("cache"), npm);
        Self { directory, cache, package }
    }

    fn fetch(&self) -> Result<PathBuf, FetchError> {
        self.cache.fetch(&self.package, &mut |_| ())
    }

    fn calls(&self) -> Vec<String> {
        fs::read_to_string(self.directory.path().join("calls"))
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// The names of what is in the package's place in the cache.
    fn kept(&self) -> Vec<String> {
        let place = self.cache.path(&self.package);
        let mut names = fs::read_dir(place.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect::<Vec<_>>();
        names.sort();
        names
    }
}

fn packed(directory: &Path) -> PathBuf {
    let source = directory.join("package/data");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("thing.txt"), "the thing").unwrap();
    let archive = directory.join("made.tgz");
    let mut tar = Command::new("tar");
    tar.arg("czf").arg(&archive).arg("package").current_dir(directory);
    assert!(tar.status().unwrap().success());
    archive
}

#[test]
fn a_file_is_fetched_once() {
    let fixture = Fixture::new(BRINGS_IT);
    assert_eq!(fixture.cache.cached(&fixture.package), None);
    for _ in 0..2 {
        let path = fixture.fetch().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "the thing");
        assert_eq!(fixture.cache.cached(&fixture.package), Some(path));
    }
    assert_eq!(fixture.calls().len(), 1);
    assert_eq!(fixture.kept(), [".lock", "thing.txt"]);
}

#[test]
fn npm_is_asked_for_the_pinned_version_and_runs_no_script_of_it() {
    let fixture = Fixture::new(BRINGS_IT);
    fixture.fetch().unwrap();
    let call = fixture.calls().remove(0);
    assert!(call.starts_with("pack @some/thing@1.2.3 --ignore-scripts "), "{call}");
}

#[test]
fn two_at_once_fetch_once() {
    let fixture = Fixture::new(&format!("sleep 0.3; {BRINGS_IT}"));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| fixture.fetch().unwrap());
        }
    });
    assert_eq!(fixture.calls().len(), 1);
}

#[test]
fn progress_names_each_stage_and_never_passes_its_end() {
    let fixture = Fixture::new(&format!(
        "mkdir npm-cache; head -c 5000 /dev/zero > npm-cache/part; sleep 0.5; {BRINGS_IT}"
    ));
    let mut reports = Vec::new();
    fixture.cache.fetch(&fixture.package, &mut |report| reports.push(report)).unwrap();
    let mut stages = reports.iter().map(|report| report.stage).collect::<Vec<_>>();
    stages.dedup();
    assert_eq!(stages, [Stage::Downloading, Stage::Checking, Stage::Unpacking]);
    assert!(reports.iter().all(|report| report.bytes <= report.of), "{reports:?}");
    assert!(reports.iter().any(|report| report.stage == Stage::Downloading && report.bytes > 0));
}

#[test]
fn what_is_not_what_was_pinned_is_refused_and_not_kept() {
    let fixture = Fixture::new(&format!("{BRINGS_IT}; echo more >> \"$2/some-thing.tgz\""));
    let error = fixture.fetch().unwrap_err();
    assert!(matches!(error, FetchError::Integrity { .. }), "{error}");
    assert!(error.to_string().contains(fixture.package.integrity), "{error}");
    assert_eq!(fixture.kept(), [".lock"]);
}

#[test]
fn a_package_without_the_file_is_refused_and_not_kept() {
    let mut fixture = Fixture::new(BRINGS_IT);
    fixture.package.file = "thing.txt";
    let error = fixture.fetch().unwrap_err();
    assert_eq!(error.to_string(), "@some/thing@1.2.3 has no file thing.txt");
    assert_eq!(fixture.kept(), [".lock"]);
}

#[test]
fn what_a_killed_fetch_left_behind_is_cleared_away() {
    let fixture = Fixture::new(BRINGS_IT);
    let leftover = fixture.cache.path(&fixture.package).with_file_name(".fetch-killed");
    fs::create_dir_all(leftover.join("npm-cache")).unwrap();
    fs::write(leftover.join("npm-cache/part"), "half of the thing").unwrap();
    fixture.fetch().unwrap();
    assert_eq!(fixture.kept(), [".lock", "thing.txt"]);
}

#[test]
fn what_npm_says_is_shown() {
    let fixture = Fixture::new("echo 'npm error network down' >&2; exit 1");
    let error = fixture.fetch().unwrap_err().to_string();
    assert_eq!(
        error,
        "npm could not fetch @some/thing@1.2.3:\n  npm error network down\n  Is the network there, and the registry that npm is set to?"
    );
}

#[test]
fn an_npm_that_ends_well_and_brings_nothing_is_an_error() {
    let error = Fixture::new("exit 0").fetch().unwrap_err().to_string();
    assert!(error.contains("npm ended without an archive"), "{error}");
}

#[test]
fn a_failing_npm_that_left_an_archive_is_not_believed() {
    let error = Fixture::new(&format!("{BRINGS_IT}; exit 1")).fetch().unwrap_err();
    assert!(matches!(error, FetchError::Npm { .. }), "{error}");
}

#[test]
fn a_missing_npm_is_named_with_what_to_do() {
    let fixture = Fixture::new("");
    let cache = Cache::new(fixture.directory.path().join("cache"), "/nowhere/npm");
    let error = cache.fetch(&fixture.package, &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("/nowhere/npm") && error.contains("install Node.js"), "{error}");
}

#[test]
fn a_full_disk_is_called_so_with_the_bytes_that_are_needed() {
    let mut fixture = Fixture::new("echo 'npm error code ENOSPC' >&2; exit 1");
    fixture.package.download_bytes = 180 << 20;
    fixture.package.file_bytes = 540 << 20;
    let error = fixture.fetch().unwrap_err().to_string();
    assert!(error.contains("is full") && error.contains("about 900 MB"), "{error}");
}

#[test]
fn a_cache_that_cannot_be_written_is_named_with_what_to_do() {
    // A file where a directory should be stops root too, as permissions do not.
    let fixture = Fixture::new(BRINGS_IT);
    let cache = Cache::new(fixture.directory.path().join("npm"), "npm");
    let error = cache.fetch(&fixture.package, &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("TEAL_CACHE_DIR"), "{error}");
    assert_eq!(fixture.calls().len(), 0);
}

#[test]
fn a_package_for_another_platform_is_refused_before_anything_is_downloaded() {
    let mut fixture = Fixture::new(BRINGS_IT);
    fixture.package.runs_on = Some(Platform { os: "plan9", arch: "vax", libc: "" });
    let error = fixture.fetch().unwrap_err().to_string();
    assert!(error.contains("for plan9 vax") && error.contains("TEAL_LIBCHDB"), "{error}");
    assert_eq!(fixture.calls().len(), 0);
}
