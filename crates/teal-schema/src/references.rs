//! Finds and replaces the tables that a SELECT names. Works on tokens, so nothing is changed inside
//! strings, comments, aliases, column names or function names; whether the result reads the tables
//! that it should is for the server to say.

use std::ops::Range;

use sqlparser::tokenizer::Token;

use crate::quote_ident;
use crate::tokens::{Significant, TokenError, is_keyword, keyword, name, tokens};

/// A table named in a SELECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableReference {
    pub database: Option<String>,
    pub name: String,
    /// It stands behind `IN`, where a column, an alias or a parameter may be meant as well.
    pub after_in: bool,
}

/// Gives `sql` with every table for which `replace` returns a text named by that text.
///
/// Where columns are qualified with the name of a replaced table (`events.id`), that name becomes
/// the table's alias; with its database too (`web.events.id`), the two are one name.
///
/// ```
/// let sql = teal_schema::rewrite_table_references("SELECT id FROM events -- from events", |table| {
///     (table.name == "events").then(|| "`events_0_0`".to_owned())
/// });
/// assert_eq!(sql.unwrap(), "SELECT id FROM `events_0_0` -- from events");
/// ```
///
/// # Errors
/// When `sql` cannot be read as tokens, such as one with a string that does not end.
pub fn rewrite_table_references(
    sql: &str,
    mut replace: impl FnMut(&TableReference) -> Option<String>,
) -> Result<String, TokenError> {
    let tokens = tokens(sql)?;
    let mut edits = Vec::new();
    for found in find(&tokens) {
        let Some(text) = replace(&found.reference) else {
            continue;
        };
        let (Some(first), Some(last)) = (tokens.get(found.first), tokens.get(found.last)) else {
            continue;
        };
        let mut text = text;
        if !found.has_alias && !found.reference.after_in {
            let (alias, prefixes) = alias(&tokens, &found);
            edits.extend(
                prefixes.into_iter().map(|range| (range, alias.clone().unwrap_or_default())),
            );
            text.extend(alias.map(|alias| format!(" AS {alias}")));
        }
        edits.push((first.start..last.end, text));
    }
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = String::with_capacity(sql.len());
    let mut copied = 0;
    for (range, text) in edits {
        // What is qualified by a table that is named twice is put in once.
        if range.start < copied {
            continue;
        }
        out.push_str(&sql[copied..range.start]);
        out.push_str(&text);
        copied = range.end;
    }
    out.push_str(&sql[copied..]);
    Ok(out)
}

/// A table reference found, as the range of its tokens.
struct Found {
    reference: TableReference,
    first: usize,
    last: usize,
    has_alias: bool,
}

/// What is known within one pair of parentheses, or at the top.
#[derive(Default)]
struct Frame {
    /// It holds a query, so that FROM begins a clause; else it is an argument list, where FROM may
    /// stand as in `trim(BOTH ' ' FROM s)`.
    is_query: bool,
    /// Between FROM and the next clause.
    in_from: bool,
    /// A comma here separates tables.
    comma_separates_tables: bool,
    /// The next thing is a table.
    expects_table: bool,
}

const CLAUSES: &[&str] = &[
    "SELECT",
    "WHERE",
    "PREWHERE",
    "GROUP",
    "ORDER",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "WINDOW",
    "QUALIFY",
    "SETTINGS",
    "FORMAT",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "INTO",
    "FETCH",
    "WITH",
];

/// Words that follow a table without being its alias.
const AFTER_TABLE: &[&str] = &[
    "FINAL", "SAMPLE", "ON", "USING", "JOIN", "ANY", "ALL", "ASOF", "SEMI", "ANTI", "INNER",
    "LEFT", "RIGHT", "FULL", "CROSS", "GLOBAL", "LOCAL", "PASTE", "ARRAY", "OUTER", "FROM",
];

fn find(tokens: &[Significant]) -> Vec<Found> {
    let ctes = common_table_expressions(tokens);
    let mut found = Vec::new();
    let mut frames = vec![Frame { is_query: true, ..Frame::default() }];
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let depth = frames.len();
        let Some(frame) = frames.last_mut() else {
            break;
        };
        let keyword = keyword(&token.token);
        match &token.token {
            Token::LParen => {
                let opens_query = starts_query(tokens, at + 1);
                // `FROM (a JOIN b …)`: a table stands first in the parentheses too.
                let joins = frame.expects_table && !opens_query;
                frame.expects_table = false;
                frames.push(Frame {
                    is_query: opens_query || joins,
                    in_from: joins,
                    comma_separates_tables: joins,
                    expects_table: joins,
                });
            }
            Token::RParen if depth > 1 => {
                frames.pop();
            }
            Token::Comma => frame.expects_table = frame.in_from && frame.comma_separates_tables,
            Token::Word(_) if frame.expects_table => {
                frame.expects_table = false;
                at = table(tokens, at, false, &ctes, &mut found);
                continue;
            }
            Token::Word(_) => match keyword.as_str() {
                "FROM" if frame.is_query && !is_distinct_from(tokens, at) => {
                    frame.in_from = true;
                    frame.comma_separates_tables = true;
                    frame.expects_table = true;
                }
                "JOIN" if frame.in_from => {
                    let is_array_join = at > 0 && is_keyword(tokens, at - 1, "ARRAY");
                    frame.comma_separates_tables = !is_array_join;
                    frame.expects_table = !is_array_join;
                }
                // The commas of `USING a, b` are between columns.
                "USING" => frame.comma_separates_tables = false,
                "IN" => {
                    if matches!(tokens.get(at + 1).map(|next| &next.token), Some(Token::Word(_))) {
                        at = table(tokens, at + 1, true, &ctes, &mut found);
                        continue;
                    }
                }
                word if CLAUSES.contains(&word) && frame.is_query => frame.in_from = false,
                _ => (),
            },
            _ => (),
        }
        at += 1;
    }
    found
}

/// Reads the table at `at` and gives the index behind it.
fn table(
    tokens: &[Significant],
    at: usize,
    after_in: bool,
    ctes: &[CommonTable],
    found: &mut Vec<Found>,
) -> usize {
    let Some(first) = name(tokens, at) else {
        return at + 1;
    };
    let is_period = |at: usize| tokens.get(at).is_some_and(|next| next.token == Token::Period);
    let (database, name, last) = match name(tokens, at + 2) {
        Some(second) if is_period(at + 1) => (Some(first), second, at + 2),
        _ => (None, first, at),
    };
    let next = tokens.get(last + 1);
    let is_function = next.is_some_and(|next| next.token == Token::LParen);
    let is_cte =
        database.is_none() && ctes.iter().any(|cte| cte.name == name && !cte.own.contains(&at));
    if !is_function && !is_cte && !is_period(last + 1) {
        let has_alias = match next.map(|next| &next.token) {
            Some(Token::Word(word)) => {
                let keyword = word.value.to_uppercase();
                word.quote_style.is_some()
                    || !(CLAUSES.contains(&keyword.as_str())
                        || AFTER_TABLE.contains(&keyword.as_str()))
            }
            _ => false,
        };
        let reference = TableReference { database, name, after_in };
        found.push(Found { reference, first: at, last, has_alias });
    }
    last + 1
}

/// A name that `WITH name AS (SELECT …)` gives to a query.
struct CommonTable {
    name: String,
    /// The tokens in which the name means something else: those of the query, where it is not a RECURSIVE one.
    own: Range<usize>,
}

fn common_table_expressions(tokens: &[Significant]) -> Vec<CommonTable> {
    let is_recursive = (0..tokens.len())
        .any(|at| is_keyword(tokens, at, "WITH") && is_keyword(tokens, at + 1, "RECURSIVE"));
    (0..tokens.len())
        .filter(|at| is_keyword(tokens, at + 1, "AS"))
        .filter(|at| tokens.get(at + 2).is_some_and(|token| token.token == Token::LParen))
        .filter(|at| starts_query(tokens, at + 3))
        .filter_map(|at| {
            let own = if is_recursive { at..at } else { at..closing(tokens, at + 2) };
            Some(CommonTable { name: name(tokens, at)?, own })
        })
        .collect()
}

/// Where the parenthesis that opens at `open` is closed.
fn closing(tokens: &[Significant], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => (),
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len()
}

/// The alias that the table found needs, where columns are qualified with its name, and where its database stands in
/// front of that: `name.column`, `database.name.column`.
fn alias(tokens: &[Significant], found: &Found) -> (Option<String>, Vec<Range<usize>>) {
    let TableReference { database, name: table, .. } = &found.reference;
    let is_period = |at: usize| tokens.get(at).is_some_and(|next| next.token == Token::Period);
    let begins =
        |at: &usize| (*at < found.first || *at > found.last) && (*at == 0 || !is_period(*at - 1));
    let is = |at: usize, text: &str| name(tokens, at).is_some_and(|name| name == text);
    let mut all = (0..tokens.len()).filter(begins);
    let is_bare = all.clone().any(|at| is(at, table) && is_period(at + 1));
    let Some(database) = database else {
        return (is_bare.then(|| quote_ident(table)), Vec::new());
    };
    let is_full = |at: &usize| {
        is(*at, database) && is_period(at + 1) && is(at + 2, table) && is_period(at + 3)
    };
    let range = |at: usize| Some(tokens.get(at)?.start..tokens.get(at + 2)?.end);
    let full = all.by_ref().filter(is_full).filter_map(range).collect::<Vec<_>>();
    let alias = match is_bare {
        true => Some(quote_ident(table)),
        false => (!full.is_empty()).then(|| quote_ident(&format!("{database}.{table}"))),
    };
    (alias, full)
}

fn starts_query(tokens: &[Significant], at: usize) -> bool {
    match tokens.get(at).map(|token| &token.token) {
        Some(Token::LParen) => starts_query(tokens, at + 1),
        _ => ["SELECT", "WITH", "FROM"].iter().any(|word| is_keyword(tokens, at, word)),
    }
}

/// `a IS [NOT] DISTINCT FROM b`.
fn is_distinct_from(tokens: &[Significant], at: usize) -> bool {
    at >= 2
        && is_keyword(tokens, at - 1, "DISTINCT")
        && (is_keyword(tokens, at - 2, "IS") || is_keyword(tokens, at - 2, "NOT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replaces `events` and `db.events`.
    fn rewritten(sql: &str) -> String {
        rewrite_table_references(sql, |table| {
            let ours = table.database.as_deref().is_none_or(|database| database == "db");
            (ours && table.name == "events").then(|| "`events_0_0`".to_owned())
        })
        .unwrap()
    }

    #[test]
    fn a_table_is_replaced_where_a_table_stands() {
        for (sql, expected) in [
            ("SELECT * FROM events", "SELECT * FROM `events_0_0`"),
            ("select * from `events`", "select * from `events_0_0`"),
            ("SELECT * FROM db.events FINAL", "SELECT * FROM `events_0_0` FINAL"),
            ("SELECT * FROM db . \"events\" e", "SELECT * FROM `events_0_0` e"),
            ("FROM events SELECT id", "FROM `events_0_0` SELECT id"),
            ("SELECT 1 FROM a, events", "SELECT 1 FROM a, `events_0_0`"),
            (
                "SELECT 1 FROM a LEFT JOIN events AS e ON a.id = e.id",
                "SELECT 1 FROM a LEFT JOIN `events_0_0` AS e ON a.id = e.id",
            ),
            (
                "SELECT 1 FROM (events JOIN b USING x)",
                "SELECT 1 FROM (`events_0_0` JOIN b USING x)",
            ),
            ("SELECT 1 FROM (SELECT * FROM events)", "SELECT 1 FROM (SELECT * FROM `events_0_0`)"),
            (
                "SELECT 1 WHERE x IN (SELECT id FROM events)",
                "SELECT 1 WHERE x IN (SELECT id FROM `events_0_0`)",
            ),
            ("SELECT 1 WHERE x GLOBAL IN events", "SELECT 1 WHERE x GLOBAL IN `events_0_0`"),
            (
                "WITH x AS (SELECT * FROM events) SELECT * FROM x",
                "WITH x AS (SELECT * FROM `events_0_0`) SELECT * FROM x",
            ),
            (
                "SELECT * FROM events UNION ALL SELECT * FROM events",
                "SELECT * FROM `events_0_0` UNION ALL SELECT * FROM `events_0_0`",
            ),
            (
                "SELECT 'é' AS a, 1\r\nFROM\tevents -- ü\nWHERE 1",
                "SELECT 'é' AS a, 1\r\nFROM\t`events_0_0` -- ü\nWHERE 1",
            ),
        ] {
            assert_eq!(rewritten(sql), expected);
        }
    }

    #[test]
    fn a_query_does_not_read_itself() {
        assert_eq!(
            rewritten("WITH events AS (SELECT * FROM events) SELECT * FROM events"),
            "WITH events AS (SELECT * FROM `events_0_0`) SELECT * FROM events"
        );
        let recursive = "WITH RECURSIVE events AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM events) \
             SELECT * FROM events";
        assert_eq!(rewritten(recursive), recursive);
        let other = "WITH events AS (SELECT 1), b AS (SELECT * FROM events) SELECT * FROM b";
        assert_eq!(rewritten(other), other);
    }

    #[test]
    fn nothing_else_of_that_name_is_touched() {
        for sql in [
            "SELECT 'FROM events', events FROM other",
            "SELECT 'it\\'s FROM events' FROM other",
            "SELECT 1 /* FROM events */ FROM other -- FROM events",
            "SELECT a AS events FROM other",
            "SELECT 1 FROM other AS events",
            "SELECT events(1) FROM numbers(3)",
            "SELECT 1 FROM events(1, 2)",
            "SELECT trim(BOTH ' ' FROM events) FROM other",
            "SELECT 1 FROM other USING events",
            "SELECT 1 FROM a JOIN b USING x, events",
            "SELECT 1 FROM other ARRAY JOIN events",
            "SELECT 1 FROM a ARRAY JOIN x, events",
            "WITH events AS (SELECT 1) SELECT * FROM events",
            "SELECT a IS NOT DISTINCT FROM events FROM other",
            "SELECT 1 FROM elsewhere.events",
            "SELECT 1 FROM other ORDER BY a, events",
            "SELECT x -> events, arrayMap(x -> x + events, [1]) FROM other",
        ] {
            assert_eq!(rewritten(sql), sql);
        }
    }

    #[test]
    fn a_name_that_qualifies_columns_becomes_the_alias() {
        assert_eq!(
            rewritten("SELECT events.id FROM events WHERE events.id > 1"),
            "SELECT events.id FROM `events_0_0` AS `events` WHERE events.id > 1"
        );
        assert_eq!(
            rewritten("SELECT events.id FROM events AS events"),
            "SELECT events.id FROM `events_0_0` AS events"
        );
    }

    #[test]
    fn a_database_that_qualifies_columns_is_a_part_of_the_alias() {
        for (sql, expected) in [
            (
                "SELECT db.events.id FROM db.events WHERE db . `events`.id > 1",
                "SELECT `db.events`.id FROM `events_0_0` AS `db.events` WHERE `db.events`.id > 1",
            ),
            (
                "SELECT db.events.id, events.at FROM db.events",
                "SELECT `events`.id, events.at FROM `events_0_0` AS `events`",
            ),
            (
                "SELECT db.events.id, x.events.id FROM db.events JOIN x.events ON db.events.id = x.events.id",
                "SELECT `db.events`.id, x.events.id FROM `events_0_0` AS `db.events` JOIN x.events ON `db.events`.id = x.events.id",
            ),
            (
                "SELECT db.events.id FROM db.events UNION ALL SELECT db.events.id FROM db.events",
                "SELECT `db.events`.id FROM `events_0_0` AS `db.events` UNION ALL SELECT `db.events`.id FROM `events_0_0` AS `db.events`",
            ),
            (
                "SELECT db.events.id FROM db.events AS e",
                "SELECT db.events.id FROM `events_0_0` AS e",
            ),
        ] {
            assert_eq!(rewritten(sql), expected);
        }
    }

    #[test]
    fn a_string_that_does_not_end_is_an_error() {
        assert!(rewrite_table_references("SELECT 'x FROM events", |_| None).is_err());
    }
}
