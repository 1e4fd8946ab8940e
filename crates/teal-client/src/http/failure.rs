//! What a failure on the way says to the user.

use super::SIGNS_OF_LIFE;
use super::transport::Transport;
use crate::ClientError;
use crate::error::shortened;

/// Of an answer, the library reads no more (ureq 3.5).
const MOST_HEADERS: u32 = 128;

impl Transport {
    pub(super) fn not_clickhouse(&self, status: u16, said: &str) -> ClientError {
        ClientError::NotClickHouse {
            address: self.options.address.to_string(),
            status,
            said: shortened(said),
        }
    }

    pub(super) fn transport_error(&self, error: ureq::Error, statement: &str) -> ClientError {
        let unreachable = |reason: String, refused: bool| ClientError::Unreachable {
            address: self.options.address.to_string(),
            reason,
            refused,
        };
        match error {
            ureq::Error::HostNotFound => {
                unreachable("there is no host of this name".to_owned(), false)
            }
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => unreachable(
                format!("no connection within {} s", self.options.connect_timeout.as_secs()),
                false,
            ),
            ureq::Error::ConnectionFailed => unreachable("no connection".to_owned(), true),
            ureq::Error::Io(source) if source.kind() == std::io::ErrorKind::ConnectionRefused => {
                unreachable("nothing listens at this port".to_owned(), true)
            }
            ureq::Error::Io(source) if is_without_way(&source) => {
                unreachable(source.to_string(), false)
            }
            ureq::Error::ConnectProxyFailed(reason) => {
                unreachable(format!("the proxy between gives no way: {reason}"), false)
            }
            ureq::Error::Tls(reason) => unreachable(format!("TLS: {reason}"), false),
            ureq::Error::Rustls(error) => unreachable(format!("TLS: {error}"), false),
            ureq::Error::Io(source) => match connecting_reason(&source) {
                Some(reason) => unreachable(reason, false),
                None => self.cut(source, 0, statement),
            },
            ureq::Error::Timeout(_) => self.silent(statement),
            ureq::Error::Protocol(error) if error.to_string().contains("too many headers") => {
                ClientError::TooLong {
                    statement: shortened(statement),
                    seconds: (self.options.read_timeout / SIGNS_OF_LIFE * MOST_HEADERS).as_secs(),
                    read_timeout: self.options.read_timeout.as_secs(),
                }
            }
            other => self.cut(std::io::Error::other(other.to_string()), 0, statement),
        }
    }

    pub(super) fn cut(
        &self,
        source: std::io::Error,
        received: u64,
        statement: &str,
    ) -> ClientError {
        let timed_out = source
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<ureq::Error>())
            .is_some_and(|error| matches!(error, ureq::Error::Timeout(_)));
        if timed_out || source.kind() == std::io::ErrorKind::TimedOut {
            return self.silent(statement);
        }
        ClientError::Cut {
            address: self.options.address.to_string(),
            statement: shortened(statement),
            received,
            reason: source.to_string(),
        }
    }

    fn silent(&self, statement: &str) -> ClientError {
        ClientError::Silent {
            address: self.options.address.to_string(),
            statement: shortened(statement),
            seconds: self.options.read_timeout.as_secs(),
        }
    }
}

/// There is no way to the host, so that nothing was sent.
fn is_without_way(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable};
    matches!(error.kind(), HostUnreachable | NetworkUnreachable | NetworkDown)
}

/// Why there was no connection, where it failed before a statement was sent: the name was not
/// found, or TLS had something against the other side. The library has no kinds for these.
fn connecting_reason(error: &std::io::Error) -> Option<String> {
    let text = error.to_string();
    if text.contains("failed to lookup address") {
        return Some(text);
    }
    let is_tls = error.get_ref()?.is::<rustls::Error>();
    is_tls.then(|| format!("TLS: {text}"))
}

#[cfg(test)]
mod tests {
    use super::super::{Address, HttpOptions};
    use super::*;

    #[test]
    fn what_kept_a_statement_from_being_sent_is_no_broken_connection() {
        let address = Address::parse("http://h").unwrap();
        let transport = Transport::new(HttpOptions::new(address)).unwrap();
        let of = |kind: std::io::ErrorKind| ureq::Error::Io(kind.into());
        for error in [
            of(std::io::ErrorKind::HostUnreachable),
            of(std::io::ErrorKind::NetworkUnreachable),
            ureq::Error::ConnectProxyFailed("407".to_owned()),
        ] {
            let error = transport.transport_error(error, "SELECT 1");
            assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
        }
        let cut = transport.transport_error(of(std::io::ErrorKind::ConnectionReset), "SELECT 1");
        assert!(matches!(cut, ClientError::Cut { .. }), "{cut}");
    }
}
