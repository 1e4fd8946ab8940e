//! SQL as tokens, with their places. Nothing here understands statements; whatever is made of tokens
//! is given to the server, which does.

use sqlparser::dialect::ClickHouseDialect;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Word};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TokenError(String);

/// A token with its place in bytes.
pub(crate) struct Significant {
    pub(crate) token: Token,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

pub(crate) fn tokens(sql: &str) -> Result<Vec<Significant>, TokenError> {
    let mut tokens = all_tokens(sql)?;
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    Ok(tokens)
}

/// With spaces and comments.
pub(crate) fn all_tokens(sql: &str) -> Result<Vec<Significant>, TokenError> {
    // Unescaped values would not tell where a token ends; the spans do.
    let doubled = with_doubled_quotes(sql);
    let tokens = Tokenizer::new(&ClickHouseDialect {}, &doubled)
        .with_unescape(false)
        .tokenize_with_location()
        .map_err(|error| TokenError(error.to_string()))?;
    let offsets = Offsets::new(sql);
    Ok(tokens
        .into_iter()
        .filter(|token| token.token != Token::EOF)
        .map(|TokenWithSpan { token, span }| Significant {
            token,
            start: offsets.byte(span.start),
            end: offsets.byte(span.end),
        })
        .collect())
}

/// ``a\`b`` in an identifier as ``a``b``, which means the same, has the same length, and is what the
/// tokenizer understands.
fn with_doubled_quotes(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut chars = sql.chars().peekable();
    // What encloses the place: a quote, or the first character of a comment's mark.
    let mut within = None;
    while let Some(c) = chars.next() {
        out.push(c);
        let next = chars.peek().copied();
        match (within, c) {
            (Some('`' | '"'), '\\') if next == within => {
                out.pop();
                out.extend(within);
                out.extend(chars.next());
            }
            (Some('`' | '"' | '\''), '\\') => out.extend(chars.next()),
            (Some(quote @ ('`' | '"' | '\'')), c) if c == quote => within = None,
            (Some('-'), '\n') => within = None,
            (Some('*'), '*') if next == Some('/') => within = None,
            (None, '`' | '"' | '\'') => within = Some(c),
            (None, '-') if next == Some('-') => within = Some('-'),
            (None, '/') if next == Some('*') => {
                out.extend(chars.next());
                within = Some('*');
            }
            _ => (),
        }
    }
    out
}

/// From lines and columns, counted in characters from 1, to bytes. A table of thousands of columns is one line to
/// the server, so none is counted through for each token.
struct Offsets {
    /// The byte at which each character begins, and the end.
    bytes: Vec<usize>,
    /// The character with which each line begins.
    lines: Vec<usize>,
}

impl Offsets {
    fn new(sql: &str) -> Self {
        let bytes = sql.char_indices().map(|(at, _)| at).chain([sql.len()]).collect();
        let ends = sql.chars().enumerate().filter(|(_, c)| *c == '\n').map(|(at, _)| at + 1);
        Self { bytes, lines: std::iter::once(0).chain(ends).collect() }
    }

    fn byte(&self, location: Location) -> usize {
        let line = usize::try_from(location.line).unwrap_or(1).saturating_sub(1);
        let column = usize::try_from(location.column).unwrap_or(1).saturating_sub(1);
        let end = self.bytes.len() - 1;
        let at = self.lines.get(line).map_or(end, |start| (start + column).min(end));
        self.bytes[at]
    }
}

pub(crate) fn is_keyword(tokens: &[Significant], at: usize, word: &str) -> bool {
    tokens.get(at).is_some_and(|token| keyword(&token.token) == word)
}

/// The word in capitals; empty for what is no bare word.
pub(crate) fn keyword(token: &Token) -> String {
    match token {
        Token::Word(Word { value, quote_style: None, .. }) => value.to_uppercase(),
        _ => String::new(),
    }
}

/// The identifier at `at`, without its quotes.
pub(crate) fn name(tokens: &[Significant], at: usize) -> Option<String> {
    match &tokens.get(at)?.token {
        Token::Word(Word { value, quote_style: None, .. }) => Some(value.clone()),
        Token::Word(Word { value, quote_style: Some(quote), .. }) => {
            let mut out = String::new();
            let mut chars = value.chars().peekable();
            while let Some(c) = chars.next() {
                match c {
                    '\\' => out.extend(chars.next()),
                    // A doubled quote stands for one.
                    c if c == *quote => {
                        chars.next_if_eq(&c);
                        out.push(c);
                    }
                    c => out.push(c),
                }
            }
            Some(out)
        }
        _ => None,
    }
}

/// The identifiers in an expression, without their quotes; functions too.
///
/// ```
/// let names = teal_schema::names("toYYYYMM(at), `a b`, 'c'").unwrap();
/// assert_eq!(names, ["toYYYYMM", "at", "a b"]);
/// ```
///
/// # Errors
/// When `text` cannot be read as tokens.
pub fn names(text: &str) -> Result<Vec<String>, TokenError> {
    let tokens = tokens(text)?;
    Ok((0..tokens.len()).filter_map(|at| name(&tokens, at)).collect())
}

/// The items of a list: what stands between the commas that are in no parentheses.
///
/// ```
/// assert_eq!(teal_schema::split_list("a, f(b, c), 'd,e'").unwrap(), ["a", "f(b, c)", "'d,e'"]);
/// ```
///
/// # Errors
/// When `text` cannot be read as tokens.
pub fn split_list(text: &str) -> Result<Vec<&str>, TokenError> {
    let mut items = Vec::new();
    let mut start = 0;
    for token in outermost(&tokens(text)?) {
        if token.token == Token::Comma {
            items.push(text[start..token.start].trim());
            start = token.end;
        }
    }
    let last = text[start..].trim();
    if !last.is_empty() {
        items.push(last);
    }
    Ok(items)
}

/// What stands behind `keyword`, up to the next of `keywords`, all outside of parentheses. A column of such a name is
/// no keyword, though the server writes it without quotes (26.7).
///
/// ```
/// let keywords = [&["ORDER", "BY"][..], &["TTL"], &["SETTINGS"]];
/// let engine = "MergeTree ORDER BY settings TTL ttl + toIntervalDay(1) SETTINGS c = 1";
/// let of = |keyword| teal_schema::clause(engine, keyword, &keywords).unwrap();
/// assert_eq!(of(&["ORDER", "BY"]), Some("settings"));
/// assert_eq!(of(&["TTL"]), Some("ttl + toIntervalDay(1)"));
/// assert_eq!(of(&["SETTINGS"]), Some("c = 1"));
/// ```
///
/// # Errors
/// When `text` cannot be read as tokens.
pub fn clause<'t>(
    text: &'t str,
    keyword: &[&str],
    keywords: &[&[&str]],
) -> Result<Option<&'t str>, TokenError> {
    let tokens = tokens(text)?;
    let outermost = outermost(&tokens).collect::<Vec<_>>();
    let all = keywords.iter().copied().chain([keyword]).collect::<Vec<_>>();
    let found = clauses(&outermost, &all);
    let Some(at) = found.iter().position(|(_, words)| *words == keyword) else {
        return Ok(None);
    };
    let behind = found[at].0 + keyword.len();
    let start = outermost.get(behind - 1).map_or(text.len(), |token| token.end);
    let next = found[at + 1..].iter().find(|(_, words)| keywords.contains(words));
    let end = next.and_then(|(at, _)| outermost.get(*at)).map_or(text.len(), |token| token.start);
    Ok(Some(text[start..end].trim()))
}

/// What stands before the first of `keywords` that is outside of parentheses.
///
/// # Errors
/// When `text` cannot be read as tokens.
pub fn head<'t>(text: &'t str, keywords: &[&[&str]]) -> Result<&'t str, TokenError> {
    let tokens = tokens(text)?;
    let outermost = outermost(&tokens).collect::<Vec<_>>();
    let first = clauses(&outermost, keywords).first().and_then(|(at, _)| outermost.get(*at));
    Ok(text[..first.map_or(text.len(), |token| token.start)].trim())
}

/// Words behind which an expression stands.
pub(crate) const BEFORE_OPERAND: &[&str] = &[
    "AND",
    "OR",
    "IN",
    "LIKE",
    "ILIKE",
    "REGEXP",
    "BETWEEN",
    "DIV",
    "MOD",
    "IS",
    "AS",
    "WHEN",
    "THEN",
    "ELSE",
    "ON",
    "WHERE",
    "PREWHERE",
    "HAVING",
    "QUALIFY",
    "SET",
    "BY",
    "KEY",
    "DEFAULT",
    "MATERIALIZED",
    "ALIAS",
    "SELECT",
];

/// Words of clauses behind which none has to.
const WITHOUT_OPERAND: &[&str] = &["DELETE", "EPHEMERAL"];

/// Where each of `keywords` begins a clause. A word is a name instead where an expression has to go on: at the
/// beginning, and behind an operator, a comma or another keyword.
fn clauses<'k>(
    outermost: &[&Significant],
    keywords: &[&'k [&'k str]],
) -> Vec<(usize, &'k [&'k str])> {
    let mut found = Vec::new();
    let mut expects_operand = true;
    let mut at = 0;
    while let Some(token) = outermost.get(at) {
        let word = keyword(&token.token);
        let clause = keywords.iter().find(|words| stands_at(outermost, words, at));
        match (&token.token, clause) {
            (Token::Word(_), _) if expects_operand => {
                expects_operand = ["NOT", "SELECT", "DISTINCT"].contains(&word.as_str());
            }
            (Token::Word(_), Some(words)) => {
                found.push((at, *words));
                expects_operand = !WITHOUT_OPERAND.contains(&word.as_str());
                at += words.len() - 1;
            }
            (Token::Word(_), None) => expects_operand = BEFORE_OPERAND.contains(&word.as_str()),
            // What is in the parentheses is not among these tokens.
            (Token::LParen | Token::LBracket | Token::LBrace, _) => (),
            (token, _) => expects_operand = !ends_operand(token),
        }
        at += 1;
    }
    found
}

/// Whether an operand ends with the token, which is no word.
pub(crate) fn ends_operand(token: &Token) -> bool {
    matches!(
        token,
        Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::HexStringLiteral(_)
            | Token::DollarQuotedString(_)
            | Token::Placeholder(_)
            | Token::RParen
            | Token::RBracket
            | Token::RBrace
    )
}

pub(crate) fn stands_at(tokens: &[&Significant], words: &[&str], at: usize) -> bool {
    words
        .iter()
        .enumerate()
        .all(|(i, word)| tokens.get(at + i).is_some_and(|token| keyword(&token.token) == *word))
}

/// What stands before the first parentheses, and what stands in them.
///
/// ```
/// let parts = teal_schema::call("Decimal(10, 2)").unwrap();
/// assert_eq!(parts, ("Decimal", Some("10, 2")));
/// assert_eq!(teal_schema::call("String").unwrap(), ("String", None));
/// ```
///
/// # Errors
/// When `text` cannot be read as tokens.
pub fn call(text: &str) -> Result<(&str, Option<&str>), TokenError> {
    let tokens = tokens(text)?;
    let Some(open) = tokens.iter().position(|token| token.token == Token::LParen) else {
        return Ok((text.trim(), None));
    };
    let mut depth = 0_usize;
    for token in tokens.iter().skip(open) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => (),
        }
        if depth == 0 {
            let inside = text[..token.start].get(tokens[open].end..).map(str::trim);
            return Ok((text[..tokens[open].start].trim(), inside));
        }
    }
    Err(TokenError(format!("a parenthesis is not closed in: {text}")))
}

/// The items of a sorting key such as `a`, `(a, f(b))` or `tuple()`, its columns quoted.
///
/// ```
/// let items = teal_schema::sorting_key("(a, f(b))", |name| name == "a" || name == "b").unwrap();
/// assert_eq!(items, ["`a`", "f(b)"]);
/// ```
///
/// # Errors
/// When `key` cannot be read as tokens.
pub fn sorting_key(key: &str, is_column: impl Fn(&str) -> bool) -> Result<Vec<String>, TokenError> {
    let key = key.trim();
    let items = match call(key)? {
        ("tuple", Some(items)) if is_whole(key["tuple".len()..].trim(), items) => {
            split_list(items)?
        }
        // The parentheses of the whole, not those of `(a + b) * c`.
        ("", Some(items)) if is_whole(key, items) => split_list(items)?,
        _ => split_list(key)?,
    };
    let quoted = |item: &str| match is_column(item) {
        true => crate::quote_ident(item),
        false => item.to_owned(),
    };
    Ok(items.into_iter().map(quoted).collect())
}

/// Whether `key` is `inside` in parentheses, and nothing behind them.
fn is_whole(key: &str, inside: &str) -> bool {
    let bare = key.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    bare.is_some_and(|bare| bare.trim() == inside)
}

/// The tokens that stand in no parentheses or brackets; of those, the opening and closing marks.
pub(crate) fn outermost(tokens: &[Significant]) -> impl Iterator<Item = &Significant> {
    let mut depth = 0_usize;
    tokens.iter().filter(move |token| match token.token {
        Token::LParen | Token::LBracket | Token::LBrace => {
            depth += 1;
            depth == 1
        }
        Token::RParen | Token::RBracket | Token::RBrace => {
            depth = depth.saturating_sub(1);
            depth == 0
        }
        _ => depth == 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each column has the name of a word that may stand there, as ClickHouse 26.7 writes them.
    #[test]
    fn a_column_that_is_called_as_a_keyword_is_none() {
        const ENGINE: [&[&str]; 6] = [
            &["PARTITION", "BY"],
            &["PRIMARY", "KEY"],
            &["ORDER", "BY"],
            &["SAMPLE", "BY"],
            &["TTL"],
            &["SETTINGS"],
        ];
        let text = "MergeTree('/a', 'b') PARTITION BY partition % sample PRIMARY KEY key ORDER BY order, settings DESC \
                    SAMPLE BY by TTL ttl + toIntervalDay(1) DELETE WHERE NOT settings AND ttl IN (1), delete TO DISK 'a' \
                    SETTINGS index_granularity = 8192";
        for (words, expected) in ENGINE.into_iter().zip([
            "partition % sample",
            "key",
            "order, settings DESC",
            "by",
            "ttl + toIntervalDay(1) DELETE WHERE NOT settings AND ttl IN (1), delete TO DISK 'a'",
            "index_granularity = 8192",
        ]) {
            assert_eq!(clause(text, words, &ENGINE).unwrap(), Some(expected));
        }
        assert_eq!(head(text, &ENGINE).unwrap(), "MergeTree('/a', 'b')");

        const COLUMN: [&[&str]; 3] = [&["COMMENT"], &["CODEC"], &["TTL"]];
        let text = " UInt8 DEFAULT comment COMMENT 'a' CODEC(ZSTD(1)) TTL ttl";
        for (words, expected) in COLUMN.into_iter().zip(["'a'", "(ZSTD(1))", "ttl"]) {
            assert_eq!(clause(text, words, &COLUMN).unwrap(), Some(expected));
        }
        let text = " String EPHEMERAL COMMENT 'a'";
        assert_eq!(clause(text, COLUMN[0], &COLUMN).unwrap(), Some("'a'"));

        const INDEX: [&[&str]; 2] = [&["TYPE"], &["GRANULARITY"]];
        let text = "type TYPE set(100) GRANULARITY 4";
        assert_eq!(head(text, &INDEX).unwrap(), "type");
        assert_eq!(clause(text, INDEX[0], &INDEX).unwrap(), Some("set(100)"));
        assert_eq!(clause(text, INDEX[1], &INDEX).unwrap(), Some("4"));
        let text = "(type, granularity) TYPE minmax GRANULARITY 1";
        assert_eq!(head(text, &INDEX).unwrap(), "(type, granularity)");
        assert_eq!(clause("a - b", &["TTL"], &[]).unwrap(), None);
    }
}
