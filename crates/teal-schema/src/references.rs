//! Finds and replaces the tables that a SELECT names. Works on tokens, so nothing is changed inside
//! strings, comments, aliases, column names or function names; whether the result reads the tables
//! that it should is for the server to say.

use std::ops::Range;

use sqlparser::tokenizer::Token;

use crate::quote_ident;
use crate::tokens::{
    BEFORE_OPERAND, Significant, TokenError, ends_operand, is_keyword, keyword, name, outermost,
    tokens,
};

/// A table named in a SELECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableReference {
    pub database: Option<String>,
    pub name: String,
    /// It stands behind `IN`, where a column, an alias or a parameter may be meant as well.
    pub after_in: bool,
    /// Columns are qualified with it, its database in front: `database.name.column`.
    pub qualifies_in_full: bool,
}

/// Gives `sql` with every table for which `replace` returns a text named by that text.
///
/// Where columns are qualified with the name of a table (`events.id`) that gets another one, that name becomes the
/// table's alias; with its database too (`web.events.id`), the two are one name. A table that keeps its name needs no
/// alias, and has none: the server keeps the text of a view, and an alias is a part of it.
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
        let Qualified { by_name, in_full } = &found.qualified;
        let TableReference { database, name, .. } = &found.reference;
        let alias = match database {
            _ if last_name(&text)?.as_ref() == Some(name) => None,
            _ if *by_name => Some(quote_ident(name)),
            Some(database) if !in_full.is_empty() => {
                Some(quote_ident(&format!("{database}.{name}")))
            }
            _ => None,
        };
        let prefix = alias.as_ref().unwrap_or(&text);
        edits.extend(in_full.iter().map(|range| (range.clone(), prefix.clone())));
        let alias = alias.map(|alias| format!(" AS {alias}")).unwrap_or_default();
        edits.push((first.start..last.end, text + &alias));
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

/// The last identifier of a table's text.
fn last_name(text: &str) -> Result<Option<String>, TokenError> {
    let tokens = tokens(text)?;
    Ok(tokens.len().checked_sub(1).and_then(|last| name(&tokens, last)))
}

/// A table reference found, as the range of its tokens.
struct Found {
    reference: TableReference,
    first: usize,
    last: usize,
    qualified: Qualified,
}

/// Where columns are qualified with a table.
#[derive(Default)]
struct Qualified {
    /// Somewhere by its name alone.
    by_name: bool,
    /// Where its database stands in front of that, the two without the column, in bytes.
    in_full: Vec<Range<usize>>,
}

/// What is known within one pair of parentheses, or at the top.
#[derive(Default)]
struct Frame {
    /// It holds a query, so that FROM begins a clause; else it is an argument list, where FROM may
    /// stand as in `trim(BOTH ' ' FROM s)`.
    is_query: bool,
    next: Next,
    /// Behind the one FROM that a SELECT has.
    has_from: bool,
    /// Between FROM and the next clause.
    in_from: bool,
    /// A comma here separates tables.
    comma_separates_tables: bool,
    /// The next thing is a table.
    expects_table: bool,
}

/// What may come next within one pair of parentheses. It tells FROM and IN from a column and a function of those names,
/// which need no quotes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Next {
    /// The first word of a query.
    #[default]
    Query,
    /// An operand, or the clause behind a comma too many: `SELECT a, FROM t`. Also behind `*`, which means all columns
    /// or is an operator.
    Item,
    Operand,
    Operator,
}

/// Of the words behind which an expression stands, those that are names in a query.
const OF_DEFINITIONS: &[&str] = &["SET", "KEY", "DEFAULT", "MATERIALIZED", "ALIAS"];

impl Next {
    fn behind_word(self, keyword: &str) -> Self {
        match (self, keyword) {
            (Self::Query, "WITH" | "ALL" | "DISTINCT")
            | (Self::Operator, "UNION" | "EXCEPT" | "INTERSECT") => Self::Query,
            // An alias without AS, as `key` is in `SELECT id key FROM t`; or GROUP BY.
            (Self::Operator, "BY") => Self::Item,
            (Self::Operator, word) if OF_DEFINITIONS.contains(&word) => Self::Operator,
            (Self::Operator, word) if BEFORE_OPERAND.contains(&word) => Self::Operand,
            // `a NOT IN b`
            (Self::Operator, "NOT") => Self::Operator,
            (_, "NOT" | "SELECT" | "DISTINCT") => Self::Operand,
            _ => Self::Operator,
        }
    }

    fn behind_mark(self, token: &Token) -> Self {
        match token {
            Token::Comma => Self::Item,
            Token::Mul if self == Self::Operator => Self::Item,
            Token::Mul => Self::Operator,
            token if ends_operand(token) => Self::Operator,
            _ => Self::Operand,
        }
    }
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
            Token::LParen | Token::LBracket | Token::LBrace => {
                let opens_query = token.token == Token::LParen && starts_query(tokens, at + 1);
                // `FROM (a JOIN b …)`: a table stands first in the parentheses too.
                let joins = token.token == Token::LParen && frame.expects_table && !opens_query;
                frame.expects_table = false;
                frame.next = Next::Operator;
                frames.push(Frame {
                    is_query: opens_query || joins,
                    next: Next::Query,
                    has_from: joins,
                    in_from: joins,
                    comma_separates_tables: joins,
                    expects_table: joins,
                });
            }
            Token::RParen | Token::RBracket | Token::RBrace if depth > 1 => {
                frames.pop();
            }
            Token::Word(_) if frame.expects_table => {
                frame.expects_table = false;
                frame.next = Next::Operator;
                at = table(tokens, at, false, &ctes, &mut found);
                continue;
            }
            Token::Word(_) => {
                let next = frame.next;
                frame.next = next.behind_word(&keyword);
                match keyword.as_str() {
                    "FROM"
                        if frame.is_query && !frame.has_from && begins_from(tokens, at, next) =>
                    {
                        frame.has_from = true;
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
                    "IN" if next == Next::Operator => {
                        if let Some((first, behind)) = set(tokens, at + 1) {
                            frame.next = Next::Operator;
                            table(tokens, first, true, &ctes, &mut found);
                            at = behind;
                            continue;
                        }
                    }
                    word if CLAUSES.contains(&word) && frame.is_query => {
                        frame.in_from = false;
                        frame.has_from &= frame.next != Next::Query;
                    }
                    _ => {
                        if let Some(first) = set_of_function(tokens, at) {
                            table(tokens, first, true, &ctes, &mut found);
                        }
                    }
                }
            }
            token => {
                frame.expects_table =
                    *token == Token::Comma && frame.in_from && frame.comma_separates_tables;
                frame.next = frame.next.behind_mark(token);
            }
        }
        at += 1;
    }
    found
}

/// Whether the FROM at `at` begins a clause, where `next` may come. Else it is a column.
fn begins_from(tokens: &[Significant], at: usize, next: Next) -> bool {
    match next {
        Next::Operator => true,
        Next::Query | Next::Item => is_before_table(tokens, at),
        Next::Operand => false,
    }
}

/// Whether a table may follow the FROM at `at`, which is a column in `SELECT to, from FROM t`.
fn is_before_table(tokens: &[Significant], at: usize) -> bool {
    const BEHIND_COLUMN: &[&str] = &[
        "AND", "AS", "BETWEEN", "DIV", "FROM", "GLOBAL", "ILIKE", "IN", "IS", "LIKE", "MOD", "NOT",
        "OR", "REGEXP",
    ];
    match tokens.get(at + 1).map(|next| &next.token) {
        Some(Token::LParen | Token::LBrace | Token::SingleQuotedString(_)) => true,
        Some(word @ Token::Word(_)) => !BEHIND_COLUMN.contains(&keyword(word).as_str()),
        _ => false,
    }
}

/// The name that is the right side of an IN at `at`, and the index behind it and the parentheses that it may stand in:
/// `t`, `(d.t)`. A server writes all of them in parentheses (26.7).
fn set(tokens: &[Significant], at: usize) -> Option<(usize, usize)> {
    let count = |at: usize, mark: &Token| {
        tokens.iter().skip(at).take_while(|token| token.token == *mark).count()
    };
    let opened = count(at, &Token::LParen);
    let first = at + opened;
    name(tokens, first)?;
    let behind = match tokens.get(first + 1).map(|next| &next.token) {
        Some(Token::Period) => first + 3,
        _ => first + 1,
    };
    (count(behind, &Token::RParen) >= opened).then_some((first, behind + opened))
}

/// The same of `in(a, t)` and its like, whose name is at `at`.
fn set_of_function(tokens: &[Significant], at: usize) -> Option<usize> {
    tokens.get(at + 1).filter(|next| next.token == Token::LParen)?;
    let function = name(tokens, at)?.to_lowercase();
    let bare = function.strip_suffix("ignoreset").unwrap_or(&function);
    let bare = bare.strip_prefix("global").unwrap_or(bare);
    let bare = bare.strip_prefix("not").unwrap_or(bare);
    if !["in", "nullin"].contains(&bare) {
        return None;
    }
    let close = closing(tokens, at + 1);
    let arguments = tokens.get(at + 2..close)?;
    let comma = outermost(arguments).find(|token| token.token == Token::Comma)?.start;
    let second = at + 3 + arguments.iter().position(|token| token.start == comma)?;
    set(tokens, second).filter(|(_, behind)| *behind == close).map(|(first, _)| first)
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
        let qualified = qualified(tokens, database.as_deref(), &name, at..last + 1);
        let qualifies_in_full = !qualified.in_full.is_empty();
        let reference = TableReference { database, name, after_in, qualifies_in_full };
        // An alias hides the name.
        let qualified = if has_alias || after_in { Qualified::default() } else { qualified };
        found.push(Found { reference, first: at, last, qualified });
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

/// Where columns are qualified with the table that stands at `own`.
fn qualified(
    tokens: &[Significant],
    database: Option<&str>,
    table: &str,
    own: Range<usize>,
) -> Qualified {
    let is_period = |at: usize| tokens.get(at).is_some_and(|next| next.token == Token::Period);
    let begins = |at: &usize| !own.contains(at) && (*at == 0 || !is_period(*at - 1));
    let is = |at: usize, text: &str| name(tokens, at).is_some_and(|name| name == text);
    let all = (0..tokens.len()).filter(begins);
    let is_full = |at: &usize| {
        database.is_some_and(|database| is(*at, database))
            && is_period(at + 1)
            && is(at + 2, table)
            && is_period(at + 3)
    };
    let range = |at: usize| Some(tokens.get(at)?.start..tokens.get(at + 2)?.end);
    Qualified {
        by_name: all.clone().any(|at| is(at, table) && is_period(at + 1)),
        in_full: all.filter(is_full).filter_map(range).collect(),
    }
}

fn starts_query(tokens: &[Significant], at: usize) -> bool {
    match tokens.get(at).map(|token| &token.token) {
        Some(Token::LParen) => starts_query(tokens, at + 1),
        _ if is_keyword(tokens, at, "FROM") => is_before_table(tokens, at),
        _ => ["SELECT", "WITH"].iter().any(|word| is_keyword(tokens, at, word)),
    }
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
                "SELECT 1 WHERE x NOT IN (events) OR y",
                "SELECT 1 WHERE x NOT IN (`events_0_0`) OR y",
            ),
            (
                "SELECT max(x IN ((db.events))) FROM events",
                "SELECT max(x IN ((`events_0_0`))) FROM `events_0_0`",
            ),
            (
                "SELECT 1 WHERE NOT in((x, 1), db.events) AND globalNotNullIn([1, 2], (events))",
                "SELECT 1 WHERE NOT in((x, 1), `events_0_0`) AND globalNotNullIn([1, 2], (`events_0_0`))",
            ),
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

    /// ClickHouse 26.7 quotes `from` in what it writes; who writes a model need not.
    #[test]
    fn a_column_that_is_called_as_a_keyword_is_none() {
        for before in [
            "SELECT from, events",
            "SELECT id, from, events",
            "SELECT t.from, events",
            "SELECT id, from AS f",
            "SELECT id, from IN [1], from + 1, from * from",
            "SELECT DISTINCT from",
            "SELECT x BETWEEN from AND events, NOT from",
            "WITH from + 1 AS f SELECT f, (from, events), [from, events]",
            "WITH (SELECT 1) AS f SELECT f,",
            "SELECT DISTINCT ON (id) *",
            "SELECT id, *",
            "SELECT * EXCEPT from",
            "SELECT * EXCEPT (from, events), from",
            "SELECT a IS NOT DISTINCT FROM events",
            "SELECT in",
            "SELECT id, with",
            "SELECT 1 AS from FROM (SELECT from, events FROM other) UNION ALL SELECT from",
        ] {
            let sql =
                format!("{before} FROM events AS t WHERE from = 1 AND (from, events) IN (1, 2)");
            let expected = sql.replace("FROM events AS", "FROM `events_0_0` AS");
            assert_eq!(rewritten(&sql), expected);
        }
        let sql = "SELECT 1 FROM a ORDER BY x WITH FILL FROM events TO 1";
        assert_eq!(rewritten(sql), sql);
        let sql = "FROM a SELECT from, events UNION DISTINCT FROM events SELECT 1";
        let expected = "FROM a SELECT from, events UNION DISTINCT FROM `events_0_0` SELECT 1";
        assert_eq!(rewritten(sql), expected);
    }

    /// None of these is restricted, as FINAL and LIMIT are (26.7).
    #[test]
    fn an_alias_that_is_called_as_a_keyword_is_one() {
        for alias in ["key", "set", "by", "alias", "default", "materialized"] {
            let sql = format!(
                "SELECT x, id {alias} FROM events UNION ALL SELECT id {alias}, x FROM events {alias}"
            );
            let expected = sql.replace("FROM events", "FROM `events_0_0`");
            assert_eq!(rewritten(&sql), expected);
            // Of a table too.
            let sql = format!("SELECT 1 FROM events {alias} JOIN events ON {alias}.a IN events");
            let expected = sql.replace("events", "`events_0_0`");
            assert_eq!(rewritten(&sql), expected);
        }
        assert_eq!(
            rewritten("SELECT 1 FROM a key UNION ALL SELECT 1 FROM events"),
            "SELECT 1 FROM a key UNION ALL SELECT 1 FROM `events_0_0`"
        );
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
            "SELECT 1 FROM a JOIN b ON a.x = [1, events]",
            "SELECT x IN (1, events), in(1, f(events)), in(events, other) FROM other",
            "SELECT x IN (events + 1) OR x IN (events.a.b) FROM other",
            "SELECT 1 FROM 'events.csv' WHERE events = 1",
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
    fn a_table_that_keeps_its_name_gets_no_alias() {
        for (sql, expected) in [
            (
                "SELECT events.id FROM events JOIN b ON events.id = b.id",
                "SELECT events.id FROM `x`.`events` JOIN `x`.`b` ON events.id = b.id",
            ),
            (
                "SELECT db.events.id, events.at FROM db.events",
                "SELECT `x`.`events`.id, events.at FROM `x`.`events`",
            ),
        ] {
            let qualified =
                |table: &TableReference| Some(format!("`x`.{}", quote_ident(&table.name)));
            assert_eq!(rewrite_table_references(sql, qualified).unwrap(), expected);
        }
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
