//! What comes back: a summary in the headers, and a body that may turn into an error half-way.

use std::io::Read;
use std::ops::ControlFlow;

use serde::Deserialize;
use ureq::http::HeaderMap;

use crate::{Answer, ClientError};

const TAG_HEADER: &str = "x-clickhouse-exception-tag";
const MARK: &str = "__exception__";

/// The figures in `X-ClickHouse-Summary`, which ClickHouse writes as strings.
pub(super) fn summary(headers: &HeaderMap) -> Answer {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Summary {
        read_rows: String,
        read_bytes: String,
        written_rows: String,
        elapsed_ns: String,
    }
    let summary = headers
        .get("x-clickhouse-summary")
        .and_then(|text| serde_json::from_slice::<Summary>(text.as_bytes()).ok())
        .unwrap_or_default();
    let number = |text: &str| text.parse::<u64>().unwrap_or(0);
    Answer {
        body: Vec::new(),
        rows_read: number(&summary.read_rows),
        bytes_read: number(&summary.read_bytes),
        rows_written: number(&summary.written_rows),
        seconds: number(&summary.elapsed_ns) as f64 / 1e9,
    }
}

/// Why a body ended before its end.
pub(super) enum BodyError {
    /// The connection was cut, after so many bytes.
    Cut { received: u64, source: std::io::Error },
    /// The server ended the result with an error.
    Server(ClientError),
}

/// Hands a body over piece by piece. Its status was sent before the result was made, so an error
/// in the middle stands at its end: marked with the tag that the headers announced (25.10 and
/// newer), or as it is (older ones). The end is held back until it is known to be none.
/// When `pass_on` breaks, the rest is not read.
pub(super) fn receive(
    headers: &HeaderMap,
    mut body: impl Read,
    statement: &str,
    pass_on: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), BodyError> {
    /// Longer than ClickHouse makes the text of an error in a body (16 KiB) and its marks.
    const HELD: usize = 20 << 10;
    let tag = headers.get(TAG_HEADER).and_then(|tag| tag.to_str().ok());
    let mut buffer = vec![0; 128 << 10];
    let mut held = Vec::new();
    let mut received = 0;
    let mut cut = None;
    loop {
        match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                received += length as u64;
                held.extend_from_slice(&buffer[..length]);
                if held.len() > HELD + buffer.len() {
                    let rest = held.split_off(held.len() - HELD);
                    if pass_on(&held).is_break() {
                        return Ok(());
                    }
                    held = rest;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => (),
            // The server cuts the connection behind an error as well.
            Err(error) => {
                cut = Some(error);
                break;
            }
        }
    }
    if let Some(error) = error_at_end(&held, tag, statement) {
        return Err(BodyError::Server(error));
    }
    if let Some(source) = cut {
        return Err(BodyError::Cut { received, source });
    }
    if !held.is_empty() {
        let _ = pass_on(&held);
    }
    Ok(())
}

fn error_at_end(end: &[u8], tag: Option<&str>, statement: &str) -> Option<ClientError> {
    let text = String::from_utf8_lossy(end);
    let message = match tag {
        // `\r\n__exception__\r\n<tag>\r\n<message>\r\n<length> <tag>\r\n__exception__\r\n`
        Some(tag) => {
            let (_, message) = text.rsplit_once(&format!("{MARK}\r\n{tag}\r\n"))?;
            message.rsplit_once(&format!(" {tag}\r\n{MARK}")).map_or(message, |(m, _)| m)
        }
        None => {
            let start = text.rfind("Code: ")?;
            let (before, message) = text.split_at(start);
            let starts_line = before.is_empty() || before.ends_with('\n');
            let (number, rest) = message.strip_prefix("Code: ")?.split_once(['.', ','])?;
            // `DB::Exception`, or one of a kind, such as `DB::NetException`.
            let is_error = number.parse::<u32>().is_ok()
                && rest.trim_start().starts_with("DB::")
                && rest.contains("Exception: ");
            (starts_line && is_error).then_some(message)?
        }
    };
    // Behind the message stands its length.
    let message = message.trim_end().trim_end_matches(|c: char| c.is_ascii_digit()).trim_end();
    Some(ClientError::from_server(message, statement))
}

/// The error that a body with a status other than 200 holds, where it is ClickHouse's.
pub(super) fn server_error(body: &str, statement: &str) -> Option<ClientError> {
    #[derive(Deserialize)]
    struct InFormat {
        exception: String,
    }
    // Some releases write it in the format of the result.
    let text =
        serde_json::from_str::<InFormat>(body).map_or_else(|_| body.to_owned(), |f| f.exception);
    text.trim_start().starts_with("Code: ").then(|| ClientError::from_server(&text, statement))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct CutAfter<'a>(&'a [u8]);

    impl Read for CutAfter<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
                length => Ok(length),
            }
        }
    }

    fn received(body: impl Read, tag: Option<&'static str>) -> (Result<(), BodyError>, Vec<u8>) {
        let mut headers = HeaderMap::new();
        if let Some(tag) = tag {
            headers.insert(TAG_HEADER, tag.parse().unwrap());
        }
        let mut out = Vec::new();
        let end = receive(&headers, body, "SELECT 1", &mut |piece| {
            out.extend_from_slice(piece);
            ControlFlow::Continue(())
        });
        (end, out)
    }

    #[test]
    fn a_whole_body_is_passed_on_whole() {
        let body = vec![7; 1 << 20];
        let (end, out) = received(body.as_slice(), None);
        assert!(end.is_ok() && out == body);
    }

    #[test]
    fn an_error_behind_rows_is_an_error_in_old_and_new_forms() {
        let old = b"1\n2\nCode: 159. DB::Exception: Timeout exceeded. (TIMEOUT_EXCEEDED) (version 24.8.1)\n";
        let new = b"1\n2\n\r\n__exception__\r\nabcd\r\nCode: 159. DB::Exception: Timeout exceeded. (TIMEOUT_EXCEEDED) (version 26.1)\r\n87 abcd\r\n__exception__\r\n";
        for (body, tag) in [(&old[..], None), (&new[..], Some("abcd"))] {
            let error = |end: Result<(), BodyError>| {
                let Err(BodyError::Server(error)) = end else { panic!("no server error") };
                assert_eq!(error.server_name(), Some("TIMEOUT_EXCEEDED"));
                assert!(error.to_string().starts_with("Timeout exceeded."), "{error}");
            };
            error(received(body, tag).0);
            error(received(CutAfter(body), tag).0);
        }
    }

    #[test]
    fn rows_that_speak_of_an_error_are_rows() {
        for body in [
            &b"the log says Code: 159. DB::Exception: x\n"[..],
            b"{\"a\":\"Code: 159. DB::Exception: x. (TIMEOUT_EXCEEDED)\"}\n",
        ] {
            let (end, out) = received(body, None);
            assert!(end.is_ok() && out == body);
        }
        let tagged = b"Code: 159. DB::Exception: Timeout exceeded. (TIMEOUT_EXCEEDED)\n";
        assert!(received(&tagged[..], Some("abcd")).0.is_ok());
    }

    #[test]
    fn a_cut_body_is_an_error_that_tells_how_much_came() {
        let (end, _) = received(CutAfter(b"1\n2\n"), None);
        assert!(matches!(end, Err(BodyError::Cut { received: 4, .. })));
    }

    #[test]
    fn an_error_in_the_format_of_the_result_is_one() {
        let error = server_error(
            r#"{"exception": "Code: 60. DB::Exception: Unknown table. (UNKNOWN_TABLE)"}"#,
            "SELECT 1",
        );
        assert_eq!(error.unwrap().server_name(), Some("UNKNOWN_TABLE"));
        assert!(server_error("<html>Bad gateway</html>", "SELECT 1").is_none());
    }
}
