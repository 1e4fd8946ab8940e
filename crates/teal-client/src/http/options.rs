use std::path::PathBuf;
use std::time::Duration;

use super::Address;

/// How to reach a server.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    pub address: Address,
    /// PEM files. Without `ca` the machine's own authorities count.
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub connect_timeout: Duration,
    /// How long the server may be silent. It sends a sign of life more often than that while a
    /// statement of teal's own runs; a user's has the user's settings only.
    pub read_timeout: Duration,
    /// Whether data is compressed on its way; by default it is, unless the server is on this
    /// machine.
    pub compress: Option<bool>,
}

impl HttpOptions {
    pub fn new(address: Address) -> Self {
        Self {
            address,
            ca: None,
            certificate: None,
            key: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(300),
            compress: None,
        }
    }
}
