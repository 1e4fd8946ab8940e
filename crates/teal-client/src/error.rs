use std::path::PathBuf;

/// What can go wrong between teal and a server. A server's own errors keep its code and name.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{message}\n  ClickHouse error {code} ({name}) for: {statement}")]
    Server { code: i32, name: String, message: String, statement: String },

    #[error(
        "cannot load the engine {path}: {reason}; run `teal engine install`, or set TEAL_LIBCHDB to a libchdb.so that fits this machine"
    )]
    Load { path: PathBuf, reason: String },

    #[error(
        "the data directory {path} is in use by process {holder}; one process at a time can open it. Wait for its end, or name another directory; of a migration that it works on, `teal status` tells, and `pause`, `resume`, `throttle` and `abort` ask it"
    )]
    DirectoryInUse { path: PathBuf, holder: String },

    #[error("cannot open the data directory {path}: {reason}")]
    Open { path: PathBuf, reason: String },

    #[error("cannot read the server's answer to: {statement}\n  {reason}")]
    Answer { statement: String, reason: String },

    #[error("the engine gave no answer and no error for: {statement}")]
    Silence { statement: String },

    #[error("cannot reach {address}: {reason}")]
    Unreachable {
        address: String,
        reason: String,
        /// Nothing listened: no statement was sent.
        refused: bool,
    },

    #[error("what answers at {address} is no ClickHouse (HTTP status {status}); it said: {said}")]
    NotClickHouse { address: String, status: u16, said: String },

    #[error(
        "the connection to {address} broke after {received} bytes of the answer to: {statement}\n  {reason}"
    )]
    Cut { address: String, statement: String, received: u64, reason: String },

    #[error(
        "{address} was silent for {seconds} s; gave up waiting for the answer to: {statement}\n  `read_timeout` under the target in teal.toml allows more"
    )]
    Silent { address: String, statement: String, seconds: u64 },

    #[error(
        "a statement took longer than about {seconds} s, and teal cannot wait longer with read_timeout = {read_timeout}: raise read_timeout under the target in teal.toml; both grow together. The statement: {statement}"
    )]
    TooLong { statement: String, seconds: u64, read_timeout: u64 },

    #[error(
        "{address} is ClickHouse {version}; teal needs {oldest} or newer. This one lacks: {lacks}"
    )]
    TooOld { address: String, version: String, oldest: String, lacks: String },

    #[error(
        "settings did not arrive at {address} as they were sent ({settings}): what stands between, a proxy say, leaves them out. teal must say how its statements are run: let all of its settings pass, or give it the server's own address"
    )]
    SettingsLost { address: String, settings: String },

    #[error(
        "{address} is more than one server: {first} answered before, and {other} now. What is written to one is not read from the other: give teal the address of one server, and not that of a balancer"
    )]
    SeveralServers { address: String, first: String, other: String },

    #[error(
        "the {what} has a line break in it, or another character that no header can hold: a secret that was read from a file may have one at its end"
    )]
    NoHeader { what: &'static str },

    #[error("{path}: {reason}; a PEM file is expected")]
    Pem { path: PathBuf, reason: String },
}

/// The name of an error that the server gave none.
pub(crate) const UNKNOWN: &str = "UNKNOWN";

impl ClientError {
    /// Makes an error of a message as ClickHouse writes it:
    /// `Code: 60. DB::Exception: Unknown table … (UNKNOWN_TABLE)`.
    pub(crate) fn from_server(text: &str, statement: &str) -> Self {
        let mut code = 0;
        let mut rest = text.trim();
        // An error that was passed on inside the server has its head twice.
        while let Some((number, behind)) =
            rest.strip_prefix("Code: ").and_then(|rest| rest.split_once(". "))
            && let Ok(number) = number.parse()
        {
            code = number;
            rest = behind.strip_prefix("DB::Exception: ").unwrap_or(behind);
        }
        // The name stands in the last parentheses that hold nothing but capitals and underscores;
        // behind it the server may add its version.
        let name_at = rest.rmatch_indices('(').find_map(|(open, _)| {
            let close = open + rest.get(open..)?.find(')')?;
            let name = rest.get(open + 1..close)?;
            let is_name = !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            is_name.then(|| (open, name.to_owned()))
        });
        let (message, name) = match name_at {
            Some((open, name)) => {
                // And its name.
                let first = rest.find(&format!("({name})")).unwrap_or(open);
                (rest.get(..first).unwrap_or(rest).trim_end(), name)
            }
            None => (rest, UNKNOWN.to_owned()),
        };
        Self::Server { code, name, message: message.to_owned(), statement: shortened(statement) }
    }

    /// Whether teal could go on and will not, for the sake of the data.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::DirectoryInUse { .. } | Self::SettingsLost { .. } | Self::SeveralServers { .. }
        )
    }

    /// ClickHouse's name of the error, such as `UNKNOWN_TABLE`, where the server gave one.
    pub fn server_name(&self) -> Option<&str> {
        match self {
            Self::Server { name, .. } => Some(name),
            _ => None,
        }
    }
}

/// Neither an answer nor an error.
pub(crate) fn silence(statement: &str) -> ClientError {
    ClientError::Silence { statement: shortened(statement) }
}

/// A statement cut to a length that a person reads in an error message.
pub(crate) fn shortened(statement: &str) -> String {
    const LONGEST: usize = 400;
    let one_line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    match one_line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", &one_line[..end]),
        None => one_line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_error_keeps_its_code_and_name() {
        let error = ClientError::from_server(
            "Code: 60. DB::Exception: Unknown table expression identifier 'nosuch' in scope SELECT count() FROM nosuch. (UNKNOWN_TABLE) (version 26.7.2.1 (official build))",
            "SELECT count()\n  FROM nosuch",
        );
        assert_eq!(
            error.to_string(),
            "Unknown table expression identifier 'nosuch' in scope SELECT count() FROM nosuch.\n  ClickHouse error 60 (UNKNOWN_TABLE) for: SELECT count() FROM nosuch"
        );
    }

    #[test]
    fn an_error_that_was_passed_on_is_said_once() {
        let error = ClientError::from_server(
            "Code: 115. DB::Exception: Code: 115. DB::Exception: Unknown setting 'nosuch'. (UNKNOWN_SETTING) (version 26.7.2.1). (UNKNOWN_SETTING)",
            "SELECT 1",
        );
        assert_eq!(
            error.to_string(),
            "Unknown setting 'nosuch'.\n  ClickHouse error 115 (UNKNOWN_SETTING) for: SELECT 1"
        );
    }

    #[test]
    fn a_message_of_another_form_is_kept_whole() {
        let error = ClientError::from_server("Connection is closed", "SELECT 1");
        assert_eq!(error.server_name(), Some("UNKNOWN"));
        assert!(error.to_string().starts_with("Connection is closed"));
    }
}
