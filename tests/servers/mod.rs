//! The servers that tests run against; each ends with the value that started it. They are shared by
//! several test binaries.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde::Deserialize;
use teal_client::{Address, HttpOptions, HttpServer};

/// A modern ClickHouse over HTTP.
pub(crate) struct Modern {
    address: Address,
    process: Option<(Child, tempfile::TempDir)>,
}

impl Modern {
    /// The server that `TEAL_TEST_URL` names, or one that the test starts.
    #[allow(dead_code)] // Not end to end.
    pub(crate) fn given_or_start() -> Self {
        match std::env::var("TEAL_TEST_URL") {
            Ok(url) => Self { address: Address::parse(&url).unwrap(), process: None },
            Err(_) => Self::start(),
        }
    }

    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    /// One that refuses what came after 23.8.
    pub(crate) fn start_as_old() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(AS_OLD), "").unwrap();
        Self::start_in(directory)
    }

    /// One with this configuration, in place of `query_log` and `part_log`.
    pub(crate) fn start_with(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(GIVEN), config).unwrap();
        Self::start_in(directory)
    }

    fn start_in(directory: tempfile::TempDir) -> Self {
        let (process, port) = start_modern(directory.path());
        Self { address: local(port), process: Some((process, directory)) }
    }

    /// A copy of what a kill at this moment would leave of it.
    pub(crate) fn left_by_a_kill(&self) -> tempfile::TempDir {
        let (process, directory) = self.process.as_ref().unwrap();
        let copy = tempfile::tempdir().unwrap();
        let all = format!("{}/.", directory.path().display());
        while_stopped(process, || {
            let mut copying = Command::new("cp");
            copying.args(["-a", &all]).arg(copy.path());
            assert!(copying.status().unwrap().success());
        });
        copy
    }

    /// One on such a copy.
    pub(crate) fn start_on(directory: tempfile::TempDir) -> Self {
        let (process, port) = start_modern(directory.path());
        Self { address: local(port), process: Some((process, directory)) }
    }

    /// It dies at once, and comes back: the same data, at another port. (Not as when the power goes: what the system had
    /// not brought to the disk yet is there.)
    pub(crate) fn kill_and_start_again(&mut self) {
        let (process, directory) = self.process.as_mut().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        let port;
        (*process, port) = start_modern(directory.path());
        self.address = local(port);
    }

    /// It answers nobody any more, and its connections stay.
    #[allow(dead_code)] // Not end to end.
    pub(crate) fn freeze(&self) {
        let (process, _) = self.process.as_ref().unwrap();
        kill_process(Pid::from_child(process), Signal::STOP).unwrap();
    }

    /// The same data, with another configuration.
    pub(crate) fn start_again_with(&mut self, config: &str) {
        let (_, directory) = self.process.as_ref().unwrap();
        std::fs::write(directory.path().join(GIVEN), config).unwrap();
        self.kill_and_start_again();
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.to_string().rsplit(':').next().unwrap().parse().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn address(&self) -> Address {
        self.address.clone()
    }

    pub(crate) fn open(&self, change: impl FnOnce(&mut HttpOptions)) -> HttpServer {
        let mut options = HttpOptions::new(self.address());
        change(&mut options);
        HttpServer::open(options).unwrap()
    }
}

impl Drop for Modern {
    fn drop(&mut self) {
        if let Some((process, _)) = &mut self.process {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

/// ClickHouse 18.16, of 2018.
pub(crate) struct Old {
    port: u16,
    process: Child,
    _directory: tempfile::TempDir,
}

impl Old {
    /// `None` where this system's packages do not have it.
    pub(crate) fn start() -> Option<Self> {
        let server = test_servers().join("clickhouse-18.16");
        if !server.exists() {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let program = Path::new(env!("TEAL_CHECKOUT")).join("tests/servers/old.py");
        let mut command = Command::new(python());
        command.arg(program).arg("--server").arg(server);
        let (process, port) = start(&mut command, directory.path());
        Some(Self { port, process, _directory: directory })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Old {
    fn drop(&mut self) {
        // Its own end takes the server along.
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}

/// A configuration that the test gave, in the server's directory.
const GIVEN: &str = "given.xml";
/// In the directory of a server that is to be old.
const AS_OLD: &str = "as_old";

fn start_modern(directory: &Path) -> (Child, u16) {
    let program = Path::new(env!("TEAL_CHECKOUT")).join("tests/servers/modern.py");
    let mut command = Command::new(python());
    command.arg(program).args(["--user", "ana:secret", "--user", "jwt:token"]);
    let given = directory.join(GIVEN);
    if given.exists() {
        command.arg("--config").arg(given);
    }
    if directory.join(AS_OLD).exists() {
        command.arg("--as-old");
    }
    start(&mut command, directory)
}

fn local(port: u16) -> Address {
    Address::parse(&format!("http://127.0.0.1:{port}")).unwrap()
}

/// Starts a server, and waits until it says its port.
fn start(command: &mut Command, directory: &Path) -> (Child, u16) {
    #[derive(Deserialize)]
    struct Ready {
        port: u16,
    }
    let mut process = command
        .arg("--path")
        .arg(directory)
        // It ends when the other end of its standard input is gone.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let Ready { port } = serde_json::from_str(&line).unwrap();
    (process, port)
}

/// Does this while no thread of it runs: what it has on disk then, a kill would leave.
pub(crate) fn while_stopped<T>(process: &Child, work: impl FnOnce() -> T) -> T {
    let pid = Pid::from_child(process);
    kill_process(pid, Signal::STOP).unwrap();
    waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED).unwrap();
    let done = work();
    kill_process(pid, Signal::CONT).unwrap();
    done
}

/// Where `tools/setup/test-servers` put them.
fn test_servers() -> PathBuf {
    teal_fetch::Cache::of_user().unwrap().directory().join("test-servers")
}

/// The interpreter that has chdb.
fn python() -> PathBuf {
    test_servers().join("venv/bin/python")
}
