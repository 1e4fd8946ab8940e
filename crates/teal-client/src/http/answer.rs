//! What comes back: a summary in the headers, and a body that may turn into an error half-way.

use std::borrow::Cow;
use std::io::Read;
use std::ops::ControlFlow;

use serde::Deserialize;
use ureq::http::response::Parts;
use ureq::http::{HeaderMap, StatusCode};

use crate::{Answer, ClientError};

const TAG_HEADER: &str = "x-clickhouse-exception-tag";
const CODE_HEADER: &str = "x-clickhouse-exception-code";
const FORMAT_HEADER: &str = "x-clickhouse-format";
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
        rows_read: number(&summary.read_rows),
        bytes_read: number(&summary.read_bytes),
        rows_written: number(&summary.written_rows),
        seconds: number(&summary.elapsed_ns) as f64 / 1e9,
        ..Answer::default()
    }
}

/// Whether the answer is an error, whatever its status: behind a sign of life, the status is out.
pub(super) fn is_error(head: &Parts) -> bool {
    head.status != StatusCode::OK || head.headers.contains_key(CODE_HEADER)
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
/// newer), or as it is or in the format of the result (older ones). The end is held back until it is
/// known to be none.
/// When `pass_on` breaks, the rest is not read.
pub(super) fn receive(
    headers: &HeaderMap,
    mut body: impl Read,
    statement: &str,
    pass_on: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), BodyError> {
    /// Longer than ClickHouse makes the text of an error in a body (16 KiB) and its marks.
    const HELD: usize = 20 << 10;
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (tag, format) = (header(TAG_HEADER), header(FORMAT_HEADER));
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
    let text = String::from_utf8_lossy(&held);
    let message = match tag {
        Some(tag) => tagged(&text, tag).map(Cow::from),
        None => untagged(&text, format, received == held.len() as u64),
    };
    if let Some(message) = message {
        return Err(BodyError::Server(ClientError::from_server(&message, statement)));
    }
    if let Some(source) = cut {
        return Err(BodyError::Cut { received, source });
    }
    if !held.is_empty() {
        let _ = pass_on(&held);
    }
    Ok(())
}

/// The error at the end of a body of an older release, which marks it by nothing. `is_whole`: the text is all of it.
fn untagged<'t>(text: &'t str, format: Option<&str>, is_whole: bool) -> Option<Cow<'t, str>> {
    let format = format.unwrap_or_default();
    let is_of = |kind: &&str| format.starts_with(kind);
    let plain = match format.is_empty() || TEXT_OF_VALUES.iter().any(is_of) {
        // One that came before all rows is told by the status.
        true => only_line(text).filter(|message| !is_whole || message.len() < text.len()),
        false => behind_anything(text),
    };
    plain.map(Cow::from).or_else(|| in_json(text).map(Cow::from)).or_else(|| match format {
        "XML" => in_xml(text).map(Cow::from),
        _ => None,
    })
}

/// What the formats begin with in which the last line may be a value as it is.
const TEXT_OF_VALUES: [&str; 8] = [
    "CSV",
    "CustomSeparated",
    "LineAsString",
    "TSKV",
    "TSV",
    "TabSeparated",
    "Template",
    "Vertical",
];

/// The message that a line begins with. Where several do, they are values.
fn only_line(text: &str) -> Option<&str> {
    let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
    let mut messages = lines.filter_map(|at| text.get(at..)).filter(|it| is_message(it));
    let message = messages.next()?;
    let is_last = !message.trim_end().contains('\n') || with_version(message).is_some();
    (messages.next().is_none() && is_last).then_some(message)
}

/// The message with which the text ends. Nothing stands between the result and it: neither a line end nor, of a
/// result in JSON, what closes it.
fn behind_anything(text: &str) -> Option<&str> {
    let version = with_version(text)?;
    // Values may be messages too. The text of an error may hold that of another, without a version.
    let begin = text.get(..version)?.rfind(VERSION).map_or(0, |at| at + VERSION.len());
    let behind = text.get(begin..)?;
    let begins = BEGINS.iter().flat_map(|begin| behind.match_indices(begin));
    let messages = begins.filter_map(|(at, _)| behind.get(at..)).filter(|it| is_message(it));
    messages.max_by_key(|message| message.len())
}

const VERSION: &str = " (version ";

/// Where the version stands with which ClickHouse ends a message.
fn with_version(message: &str) -> Option<usize> {
    let message = message.strip_suffix('\n').filter(|message| message.ends_with(')'))?;
    message.rfind(VERSION)
}

/// `\r\n__exception__\r\n<tag>\r\n<message>\r\n<length> <tag>\r\n__exception__\r\n`
fn tagged<'t>(text: &'t str, tag: &str) -> Option<&'t str> {
    let (_, message) = text.rsplit_once(&format!("{MARK}\r\n{tag}\r\n"))?;
    let message =
        message.rsplit_once(&format!(" {tag}\r\n{MARK}")).map_or(message, |(m, _)| m).trim_end();
    // Behind the message stands its length.
    Some(message.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end())
}

const BEGINS: [&str; 4] =
    ["Code: ", "Poco::Exception. Code: ", "std::exception. Code: ", "Unknown exception. Code: "];

/// Whether a text begins as ClickHouse's message of an error: `Code: 60. DB::Exception: `, and of what
/// it did not throw itself, `Poco::Exception. Code: 1000, `.
fn is_message(text: &str) -> bool {
    let number = |text: &str| text.parse::<u32>().is_ok();
    if let Some((code, rest)) = text.strip_prefix("Code: ").and_then(|t| t.split_once(['.', ','])) {
        let class = rest.split_once("Exception: ").map(|(class, _)| class.trim_start());
        let is_class = |class: &str| class.chars().all(|c| c.is_alphanumeric() || c == ':');
        return number(code) && class.is_some_and(is_class);
    }
    let rest = BEGINS.iter().find_map(|begin| text.strip_prefix(begin));
    rest.and_then(|rest| rest.split_once(',')).is_some_and(|(code, _)| number(code))
}

/// The error at the end of a result in JSON, as releases from 23.9 on write it. A blank tells it from the
/// last row of a column `exception`, which has none there, or is followed by more than what closes the
/// result.
fn in_json(text: &str) -> Option<String> {
    let (_, value) = text.rsplit_once("\"exception\": ")?;
    let mut values = serde_json::Deserializer::from_str(value).into_iter::<String>();
    let message = values.next()?.ok()?;
    let behind = value.get(values.byte_offset()..)?;
    let is_end = behind.chars().all(|c| c.is_whitespace() || matches!(c, '}' | ']'));
    (is_end && is_message(&message)).then_some(message)
}

/// The error at the end of a result in XML.
fn in_xml(text: &str) -> Option<String> {
    let (_, value) = text.rsplit_once("<exception>")?;
    let (message, _) = value.split_once("</exception>")?;
    let escaped = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    let message = escaped.iter().fold(message.to_owned(), |it, (from, to)| it.replace(from, to));
    is_message(&message).then_some(message)
}

/// The error that a body holds which is nothing else, where it is ClickHouse's.
pub(super) fn server_error(
    headers: &HeaderMap,
    body: &str,
    statement: &str,
) -> Option<ClientError> {
    let tag = headers.get(TAG_HEADER).and_then(|tag| tag.to_str().ok());
    let text = tag
        .and_then(|tag| tagged(body, tag).map(Cow::from))
        .or_else(|| in_json(body).map(Cow::from))
        .unwrap_or_else(|| body.into());
    let is_clickhouses = headers.contains_key(CODE_HEADER)
        || text.trim_start().starts_with("Code: ")
        || is_message(text.trim_start());
    is_clickhouses.then(|| ClientError::from_server(&text, statement))
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
        received_with(tag.map(|tag| (TAG_HEADER, tag)), body)
    }

    fn received_with(
        header: Option<(&'static str, &'static str)>,
        body: impl Read,
    ) -> (Result<(), BodyError>, Vec<u8>) {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, value.parse().unwrap());
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
        // From 23.9 on, and in the format JSON.
        let in_rows = b"{\"a\":1}\n{\"exception\": \"Code: 159. DB::Exception: Timeout exceeded. (TIMEOUT_EXCEEDED) (version 24.8.1)\"}\n";
        let in_json = b"{\n\t\"data\": [],\n\t\"exception\": \"Code: 159. DB::Exception: Timeout exceeded. (TIMEOUT_EXCEEDED)\"\n}\n";
        let forms = [(&old[..], None), (&new[..], Some("abcd")), (in_rows, None), (in_json, None)];
        for (body, tag) in forms {
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
    fn errors_within_errors_and_of_other_classes_are_errors() {
        for (body, said) in [
            (
                "1\nCode: 341. DB::Exception: A mutation failed, reason: 'Code: 6. DB::Exception: Cannot parse. (CANNOT_PARSE_TEXT)'. (UNFINISHED)\n",
                "A mutation failed",
            ),
            (
                "1\nCode: 999. Coordination::Exception: Session expired. (KEEPER_EXCEPTION)\n",
                "Coordination::Exception: Session expired.",
            ),
            ("1\nCode: 210. DB::NetException: I/O error. (NETWORK_ERROR)", "DB::NetException: I/O"),
            ("1\nPoco::Exception. Code: 1000, e.code() = 0, Timeout (version 24.8)\n", "Poco::"),
        ] {
            let (end, _) = received(body.as_bytes(), None);
            let Err(BodyError::Server(error)) = end else { panic!("no server error: {body}") };
            assert!(error.to_string().starts_with(said), "{error}");
        }
    }

    #[test]
    fn behind_a_sign_of_life_a_header_tells_an_error() {
        let head = |name: &'static str| {
            let response = ureq::http::Response::builder().header(name, "159").body(()).unwrap();
            response.into_parts().0
        };
        assert!(is_error(&head(CODE_HEADER)) && !is_error(&head("x-clickhouse-progress")));
    }

    #[test]
    fn rows_that_speak_of_an_error_are_rows() {
        for body in [
            &b"the log says Code: 159. DB::Exception: x\n"[..],
            b"Code: 159. It says DB::Exception: x\n",
            b"{\"exception\":\"Code: 159. DB::Exception: x. (TIMEOUT_EXCEEDED)\"}\n",
            b"{\n\"data\": [{\"exception\": \"Code: 159. DB::Exception: x.\"}],\n\"rows\": 1\n}\n",
            b"{\"a\":\"Code: 159. DB::Exception: x. (TIMEOUT_EXCEEDED)\"}\n",
        ] {
            let (end, out) = received(body, None);
            assert!(end.is_ok() && out == body);
        }
        let tagged = b"Code: 159. DB::Exception: Timeout exceeded. (TIMEOUT_EXCEEDED)\n";
        assert!(received(&tagged[..], Some("abcd")).0.is_ok());
    }

    const OLD: &str = "Code: 341. DB::Exception: A mutation failed: 'Code: 6. DB::Exception: x. (A)'. \
                       (UNFINISHED) (version 24.8.1 (official build))";

    #[test]
    fn an_error_behind_a_result_that_ends_in_no_line_is_one() {
        for (format, rows) in [
            ("RowBinary", format!("\x01\x02{}", OLD.replace("UNFINISHED", "OTHER"))),
            ("Native", "\u{1}\u{0}\n".to_owned()),
            ("Values", "(1),(2)".to_owned()),
            ("JSON", "{\n\t\"data\":\n\t[\n\t\t{\"a\": 1}".to_owned()),
        ] {
            let (end, _) =
                received_with(Some((FORMAT_HEADER, format)), format!("{rows}{OLD}\n").as_bytes());
            let Err(BodyError::Server(error)) = end else { panic!("no server error: {format}") };
            assert_eq!(error.server_name(), Some("UNFINISHED"), "{format}");
            assert!(error.to_string().starts_with("A mutation failed"), "{error}");
        }
        let xml = OLD.replace('\'', "&apos;");
        let xml =
            format!("<result>\n\t<data>\n\t</data>\n\t<exception>{xml}</exception>\n</result>\n");
        let (end, _) = received_with(Some((FORMAT_HEADER, "XML")), xml.as_bytes());
        let Err(BodyError::Server(error)) = end else { panic!("no server error") };
        assert!(error.to_string().starts_with("A mutation failed: 'Code: 6."), "{error}");
    }

    #[test]
    fn rows_that_are_errors_are_rows() {
        for (format, body) in [
            ("TabSeparated", format!("{OLD}\n{OLD}\n")),
            ("TabSeparated", format!("{OLD}\n")),
            ("TabSeparated", format!("{OLD}\n1\n")),
            ("TabSeparated", format!("1\t{OLD}\n2\t{OLD}\n")),
            ("RowBinary", format!("\x01{OLD}")),
            ("RawBLOB", OLD.to_owned()),
            ("JSONEachRow", format!("{{\"a\":\"{OLD}\"}}\n")),
            ("XML", format!("<result><row><a>{OLD}</a></row></result>\n")),
        ] {
            let (end, out) = received_with(Some((FORMAT_HEADER, format)), body.as_bytes());
            assert!(end.is_ok() && out == body.as_bytes(), "{format}: {body}");
        }
    }

    #[test]
    fn a_cut_body_is_an_error_that_tells_how_much_came() {
        let (end, _) = received(CutAfter(b"1\n2\n"), None);
        assert!(matches!(end, Err(BodyError::Cut { received: 4, .. })));
    }

    #[test]
    fn an_error_in_the_format_of_the_result_is_one() {
        let server_error = |body| server_error(&HeaderMap::new(), body, "SELECT 1");
        let error = server_error(
            r#"{"exception": "Code: 60. DB::Exception: Unknown table. (UNKNOWN_TABLE)"}"#,
        );
        assert_eq!(error.unwrap().server_name(), Some("UNKNOWN_TABLE"));
        assert!(server_error("<html>Bad gateway</html>").is_none());
    }
}
