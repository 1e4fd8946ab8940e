//! The statements of a file: where each begins, what it creates, under which name.

use std::ops::Range;

use sqlparser::tokenizer::{Token, Whitespace};

use crate::tokens::{
    Significant, TokenError, all_tokens, is_keyword, name, outermost, stands_at, tokens,
};

/// One statement of a file, without its semicolon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement<'s> {
    pub sql: &'s str,
    /// Where it begins; both counted from 1.
    pub line: u32,
    pub column: u32,
    /// The comments in front of it, from the line on that follows the statement before.
    pub comments: Vec<Comment>,
    /// Those behind its first word, until the end of its last line; of the last statement all.
    pub later_comments: Vec<Comment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    pub line: u32,
    /// Without `--` or `/* */`.
    pub text: String,
}

/// Splits a file into its statements.
///
/// # Errors
/// When the text cannot be read as tokens, such as one with a string that does not end.
pub fn statements(text: &str) -> Result<Vec<Statement<'_>>, TokenError> {
    let mut statements: Vec<Statement<'_>> = Vec::new();
    let mut comments = Vec::new();
    // Where the statement begins that has not ended yet, and the line in which the last one ended.
    let mut begun = None;
    let mut end_line = 0;
    for token in &all_tokens(text)? {
        match (&token.token, statements.last_mut()) {
            (Token::SemiColon, _) => {
                begun = None;
                end_line = place(text, token.start).0;
            }
            (
                Token::Whitespace(
                    Whitespace::SingleLineComment { comment, .. }
                    | Whitespace::MultiLineComment(comment),
                ),
                last,
            ) => {
                let line = place(text, token.start).0;
                let of = match last {
                    Some(last) if begun.is_some() || line == end_line => &mut last.later_comments,
                    _ => &mut comments,
                };
                of.push(Comment { line, text: comment.trim().to_owned() });
            }
            (Token::Whitespace(_), _) => (),
            (_, last) => match (begun, last) {
                (Some(start), Some(last)) => last.sql = &text[start..token.end],
                _ => {
                    begun = Some(token.start);
                    let (line, column) = place(text, token.start);
                    statements.push(Statement {
                        sql: &text[token.start..token.end],
                        line,
                        column,
                        comments: std::mem::take(&mut comments),
                        later_comments: Vec::new(),
                    });
                }
            },
        }
    }
    if let Some(last) = statements.last_mut() {
        last.later_comments.append(&mut comments);
    }
    Ok(statements)
}

/// Line and column of a byte, counted from 1.
fn place(text: &str, byte: usize) -> (u32, u32) {
    let before = &text[..byte];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateKind {
    Table,
    MaterializedView,
    View,
}

/// A `CREATE` statement, as far as tokens tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create<'s> {
    pub kind: CreateKind,
    pub database: Option<String>,
    pub name: String,
    /// Where the name stands, with its database and with `ON CLUSTER`, in bytes.
    pub name_range: Range<usize>,
    pub cluster: Option<String>,
    /// What stands in the parentheses behind the name: columns, indexes and so on.
    pub definitions: Option<&'s str>,
    /// The table that a table has its columns of (`AS`), database and name, and where that stands, in bytes.
    pub like: Option<(Option<String>, String, Range<usize>)>,
    /// Where a table's engine stands, with its arguments, in bytes.
    pub engine: Option<Range<usize>>,
    /// The table behind `TO`: database and name.
    pub target: Option<(Option<String>, String)>,
    /// A materialized view that runs by the clock (`REFRESH`), and that no INSERT fires.
    pub is_refreshed: bool,
    /// It says whose rights a view runs with: `DEFINER`, `SQL SECURITY`.
    pub has_security: bool,
    /// A table that is made with rows: `AS SELECT`, `CLONE AS`.
    pub is_filled: bool,
    /// The SELECT behind `AS`, of a view.
    pub select: Option<&'s str>,
    /// What else a view says, each as it stands: between its name, its target and `AS`, and the
    /// comment behind the SELECT.
    pub others: Vec<&'s str>,
}

/// Reads the head of a `CREATE TABLE`, `CREATE MATERIALIZED VIEW` or `CREATE VIEW`; `None` for any
/// other statement.
///
/// # Errors
/// When the text cannot be read as tokens.
pub fn read_create(sql: &str) -> Result<Option<Create<'_>>, TokenError> {
    let tokens = tokens(sql)?;
    let mut at = 0;
    let mut skip = |words: &[&str]| {
        let stands = words.iter().enumerate().all(|(i, word)| is_keyword(&tokens, at + i, word));
        if stands {
            at += words.len();
        }
        stands
    };
    if !skip(&["CREATE"]) {
        return Ok(None);
    }
    let kind = match () {
        () if skip(&["TABLE"]) => CreateKind::Table,
        () if skip(&["MATERIALIZED", "VIEW"]) => CreateKind::MaterializedView,
        () if skip(&["VIEW"]) => CreateKind::View,
        () => return Ok(None),
    };
    skip(&["IF", "NOT", "EXISTS"]);
    let Some((database, name, end)) = table_name(&tokens, at) else {
        return Ok(None);
    };
    let start = tokens[at].start;
    let mut last = end - 1;
    let mut cluster = None;
    if is_keyword(&tokens, end, "ON") && is_keyword(&tokens, end + 1, "CLUSTER") {
        cluster = cluster_name(&tokens, end + 2);
        last = end + 2;
    }
    let name_end = tokens.get(last).map_or(sql.len(), |token| token.end);
    let rest = &tokens[(last + 1).min(tokens.len())..];
    let outer = outermost(rest).collect::<Vec<_>>();
    let keyword_at =
        |word: &str| outer.iter().position(|token| crate::tokens::keyword(&token.token) == word);
    // Behind it, a TO is one of the SELECT's.
    let query = keyword_at("AS").filter(|_| kind != CreateKind::Table);
    let is_of_view =
        |to: &usize| kind == CreateKind::MaterializedView && query.is_none_or(|query| *to < query);
    let target = keyword_at("TO").filter(is_of_view).and_then(|to| {
        let behind = rest.iter().position(|token| token.start == outer[to].start)? + 1;
        let (database, name, end) = table_name(rest, behind)?;
        Some((database, name, behind - 1..end))
    });
    // A text stands behind no alias.
    let comment = query.and_then(|query| {
        let at = outer.len().checked_sub(2).filter(|at| *at > query)?;
        let is_text = matches!(outer[at + 1].token, Token::SingleQuotedString(_));
        (is_text && crate::tokens::keyword(&outer[at].token) == "COMMENT").then_some(at)
    });
    let select = query.map(|query| {
        let end = comment.map_or(sql.len(), |at| outer[at].start);
        sql[outer[query].end..end].trim()
    });
    let mut others = Vec::new();
    if kind != CreateKind::Table {
        let query = query.map_or(sql.len(), |at| outer[at].start);
        let head = &rest[..rest.partition_point(|token| token.start < query)];
        let to = target.as_ref().map_or(0..0, |(.., range)| range.clone());
        let behind = comment.map_or(&outer[..0], |at| &outer[at..]).iter().copied();
        let pieces = [head.get(..to.start), head.get(to.end..)].into_iter().flatten();
        let pieces = pieces.map(|piece| piece.iter().collect::<Vec<_>>()).chain([behind.collect()]);
        others.extend(pieces.filter_map(|piece| sql.get(piece.first()?.start..piece.last()?.end)));
    }
    let stands = |words: &[&str]| (0..outer.len()).find(|at| stands_at(&outer, words, *at));
    let is_next = |at: usize, is: &dyn Fn(&Token) -> bool| {
        outer.get(at + 1).is_some_and(|next| is(&next.token))
    };
    let definer = stands(&["DEFINER"]).filter(|at| is_next(*at, &|next| *next == Token::Eq));
    let security = stands(&["SQL", "SECURITY"]).or(definer);
    let has_security = kind != CreateKind::Table
        && security.is_some_and(|at| keyword_at("AS").is_none_or(|query| at < query));
    let begins_query = |next: &Token| {
        let word = crate::tokens::keyword(next);
        *next == Token::LParen || ["SELECT", "WITH", "FROM"].contains(&word.as_str())
    };
    let is_filled = kind == CreateKind::Table
        && (stands(&["CLONE", "AS"]).is_some()
            || keyword_at("AS").is_some_and(|at| is_next(at, &begins_query)));
    let like = table_name(rest, 1).and_then(|(database, name, end)| {
        let is_it = kind == CreateKind::Table && !is_filled && is_keyword(rest, 0, "AS");
        let is_function = rest.get(end).is_some_and(|next| next.token == Token::LParen);
        let range = rest.get(1)?.start..rest.get(end - 1)?.end;
        (is_it && !is_function).then_some((database, name, range))
    });
    let definitions = match rest.first() {
        Some(Significant { token: Token::LParen, start, .. }) => {
            let close = outer.get(1).map_or(sql.len(), |token| token.start);
            sql.get(start + 1..close)
        }
        _ => None,
    };
    let engine = keyword_at("ENGINE").filter(|_| kind == CreateKind::Table).and_then(|at| {
        let at = at + 1 + usize::from(is_next(at, &|next| *next == Token::Eq));
        let end = match is_next(at, &|next| *next == Token::LParen) {
            true => at + 2,
            false => at,
        };
        Some(outer.get(at)?.start..outer.get(end)?.end)
    });
    Ok(Some(Create {
        kind,
        database,
        name,
        name_range: start..name_end,
        cluster,
        definitions,
        like,
        engine,
        target: target.map(|(database, name, _)| (database, name)),
        is_refreshed: kind == CreateKind::MaterializedView && is_keyword(rest, 0, "REFRESH"),
        has_security,
        is_filled,
        select,
        others,
    }))
}

/// The database, the name, and the index behind them.
fn table_name(tokens: &[Significant], at: usize) -> Option<(Option<String>, String, usize)> {
    let first = name(tokens, at)?;
    match tokens.get(at + 1).map(|token| &token.token) {
        Some(Token::Period) => Some((Some(first), name(tokens, at + 2)?, at + 3)),
        _ => Some((None, first, at + 1)),
    }
}

/// A cluster is named by an identifier or a string.
fn cluster_name(tokens: &[Significant], at: usize) -> Option<String> {
    match &tokens.get(at)?.token {
        Token::SingleQuotedString(text) => Some(text.clone()),
        _ => name(tokens, at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_split_at_its_semicolons_and_not_within_strings_or_comments() {
        let text = "-- teal: version 0.1\n/* two */\nCREATE TABLE a (x String DEFAULT ';');\n\n  SELECT 1 -- no;\n, 2;;";
        let found = statements(text).unwrap();
        assert_eq!(
            found.iter().map(|s| (s.sql, s.line, s.column)).collect::<Vec<_>>(),
            [("CREATE TABLE a (x String DEFAULT ';')", 3, 1), ("SELECT 1 -- no;\n, 2", 5, 3)]
        );
        let comments = found[0].comments.iter().map(|c| (c.line, c.text.as_str()));
        assert_eq!(comments.collect::<Vec<_>>(), [(1, "teal: version 0.1"), (2, "two")]);
        assert!(found[1].comments.is_empty() && found[0].later_comments.is_empty());
        let later = found[1].later_comments.iter().map(|c| (c.line, c.text.as_str()));
        assert_eq!(later.collect::<Vec<_>>(), [(5, "no;")]);
    }

    #[test]
    fn a_comment_behind_a_statement_is_not_in_front_of_the_next() {
        let found = statements("SELECT 1; -- a\n-- b\nSELECT 2; /* c */ -- d\n\n-- e").unwrap();
        let texts =
            |comments: &[Comment]| comments.iter().map(|c| c.text.clone()).collect::<Vec<_>>();
        let of = |at: usize| (texts(&found[at].comments), texts(&found[at].later_comments));
        let texts = |of: &[&str]| of.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(of(0), (texts(&[]), texts(&["a"])));
        assert_eq!(of(1), (texts(&["b"]), texts(&["c", "d", "e"])));
    }

    #[test]
    fn the_head_of_a_create_statement_is_read() {
        let sql = "CREATE TABLE IF NOT EXISTS `d`.t ON CLUSTER '{cluster}' (a UInt8, b String DEFAULT f(1)) ENGINE = MergeTree";
        let create = read_create(sql).unwrap().unwrap();
        assert_eq!((create.kind, create.name.as_str()), (CreateKind::Table, "t"));
        assert_eq!(create.database.as_deref(), Some("d"));
        assert_eq!(create.cluster.as_deref(), Some("{cluster}"));
        assert_eq!(create.definitions, Some("a UInt8, b String DEFAULT f(1)"));
        assert_eq!(&sql[create.name_range], "`d`.t ON CLUSTER '{cluster}'");
        assert_eq!(create.engine.map(|engine| &sql[engine]), Some("MergeTree"));
        let sql = "CREATE TABLE t (engine UInt8) ENGINE Replicated /* r */ ('/p', f('r')) ORDER BY (engine)";
        let engine = read_create(sql).unwrap().unwrap().engine;
        assert_eq!(engine.map(|engine| &sql[engine]), Some("Replicated /* r */ ('/p', f('r'))"));

        let sql = "CREATE TABLE t AS d.`a b` ENGINE = Distributed(c, d, `a b`)";
        let like = read_create(sql).unwrap().unwrap().like.unwrap();
        assert_eq!(
            (like.0.as_deref(), like.1.as_str(), &sql[like.2]),
            (Some("d"), "a b", "d.`a b`")
        );
        for sql in [
            "CREATE TABLE t AS numbers(3)",
            "CREATE TABLE t (a UInt8) ENGINE = Log",
            "CREATE TABLE t AS SELECT 1",
        ] {
            assert_eq!(read_create(sql).unwrap().unwrap().like, None);
        }

        let sql = "create materialized view mv to d.`the t` (a UInt8) as select a as b from x";
        let create = read_create(sql).unwrap().unwrap();
        assert_eq!(create.kind, CreateKind::MaterializedView);
        assert_eq!(create.target, Some((Some("d".to_owned()), "the t".to_owned())));
        assert_eq!(create.select, Some("select a as b from x"));

        let filled = "CREATE MATERIALIZED VIEW v ENGINE = Log AS SELECT 1 AS a ORDER BY a WITH FILL FROM 1 TO b";
        assert_eq!(read_create(filled).unwrap().unwrap().target, None);

        let create = read_create("CREATE VIEW v AS SELECT 1").unwrap().unwrap();
        assert_eq!((create.kind, create.select), (CreateKind::View, Some("SELECT 1")));
    }

    #[test]
    fn what_no_model_can_say_is_seen() {
        let read = |sql: &'static str| read_create(sql).unwrap().unwrap();
        for sql in [
            "CREATE VIEW v DEFINER = me SQL SECURITY DEFINER AS SELECT 1",
            "CREATE VIEW v (a UInt8) SQL SECURITY INVOKER AS SELECT 1",
            "CREATE MATERIALIZED VIEW v TO t DEFINER = CURRENT_USER AS SELECT 1",
        ] {
            assert!(read(sql).has_security, "{sql}");
        }
        assert!(!read("CREATE VIEW v AS SELECT definer = 1 AS sql, security").has_security);
        for (sql, is_filled) in [
            ("CREATE TABLE t ENGINE = Log AS SELECT 1", true),
            ("CREATE TABLE t ENGINE = Log AS (WITH 1 AS a SELECT a)", true),
            ("CREATE TABLE t CLONE AS s", true),
            ("CREATE TABLE t (a UInt8 DEFAULT (WITH 1 AS b SELECT b)) ENGINE = Log", false),
            ("CREATE TABLE t AS s", false),
        ] {
            assert_eq!(read(sql).is_filled, is_filled, "{sql}");
        }
    }

    #[test]
    fn what_else_a_view_says_is_seen() {
        for (sql, select, others) in [
            ("CREATE VIEW v AS SELECT a AS comment", "SELECT a AS comment", &[][..]),
            ("CREATE VIEW v -- (a)\n AS SELECT 1", "SELECT 1", &[]),
            ("CREATE VIEW v ON CLUSTER c AS SELECT 1", "SELECT 1", &[]),
            ("CREATE MATERIALIZED VIEW v TO d.populate AS SELECT 1", "SELECT 1", &[]),
            ("CREATE VIEW v (a, b) AS (SELECT 1)", "(SELECT 1)", &["(a, b)"]),
            ("CREATE VIEW v AS SELECT 'a' COMMENT 'x'", "SELECT 'a'", &["COMMENT 'x'"]),
            (
                "CREATE MATERIALIZED VIEW v (a UInt8) TO t POPULATE AS SELECT 1 comment 'x'",
                "SELECT 1",
                &["(a UInt8)", "POPULATE", "comment 'x'"],
            ),
            ("CREATE TABLE t (a UInt8) ENGINE = Memory COMMENT 'x'", "", &[]),
        ] {
            let create = read_create(sql).unwrap().unwrap();
            assert_eq!((create.select.unwrap_or_default(), &create.others[..]), (select, others));
        }
    }

    #[test]
    fn a_quoted_name_may_hold_its_quote() {
        for sql in ["CREATE TABLE `a\\`b` (x UInt8)", "CREATE TABLE `a``b` (x UInt8)"] {
            let create = read_create(sql).unwrap().unwrap();
            assert_eq!((create.name.as_str(), create.definitions), ("a`b", Some("x UInt8")));
        }
        let sql = "CREATE TABLE t /* it's `one */ (x UInt8) -- and 'that\n COMMENT 'a\\'`'";
        assert_eq!(read_create(sql).unwrap().unwrap().definitions, Some("x UInt8"));
    }

    #[test]
    fn another_statement_is_none() {
        for sql in ["SELECT 1", "CREATE DATABASE d", "INSERT INTO t VALUES (1)", "CREATE"] {
            assert_eq!(read_create(sql).unwrap(), None, "{sql}");
        }
    }
}
