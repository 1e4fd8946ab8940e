//! Names for what a table is called in code.

/// The words of a name: `user_events`, `userEvents` and `user events` have two.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_inside = false;
    for c in name.chars() {
        let begins =
            c.is_uppercase() && words.last().is_some_and(|w| w.ends_with(char::is_lowercase));
        if !c.is_ascii_alphanumeric() {
            is_inside = false;
            continue;
        }
        match words.last_mut() {
            Some(word) if is_inside && !begins => word.push(c.to_ascii_lowercase()),
            _ => words.push(c.to_ascii_lowercase().to_string()),
        }
        is_inside = true;
    }
    words
}

/// `userEvents`.
pub(super) fn camel(name: &str) -> String {
    let pascal = pascal(name);
    let mut chars = pascal.chars();
    let camel = chars.next().map(|first| first.to_ascii_lowercase().to_string() + chars.as_str());
    free(camel.unwrap_or_default())
}

/// `UserEvents`.
pub(super) fn pascal(name: &str) -> String {
    let capital = |word: String| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str())
    };
    safe(words(name).into_iter().filter_map(capital).collect())
}

/// `user_events`.
pub(super) fn snake(name: &str) -> String {
    free(safe(words(name).join("_")))
}

/// A name begins with a letter.
fn safe(name: String) -> String {
    match name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        true => name,
        false => format!("t{name}"),
    }
}

/// Not a word of TypeScript or Python, nor a name that the files import.
fn free(name: String) -> String {
    const TAKEN: &[&str] = &[
        "and",
        "any",
        "as",
        "assert",
        "async",
        "await",
        "boolean",
        "break",
        "case",
        "catch",
        "class",
        "const",
        "continue",
        "date",
        "datetime",
        "debugger",
        "def",
        "default",
        "del",
        "delete",
        "do",
        "elif",
        "else",
        "enum",
        "except",
        "export",
        "extends",
        "false",
        "finally",
        "float",
        "for",
        "from",
        "function",
        "global",
        "if",
        "implements",
        "import",
        "in",
        "instanceof",
        "int",
        "interface",
        "is",
        "lambda",
        "let",
        "list",
        "match",
        "new",
        "none",
        "nonlocal",
        "not",
        "null",
        "number",
        "or",
        "package",
        "pass",
        "private",
        "protected",
        "public",
        "raise",
        "return",
        "sql",
        "static",
        "str",
        "string",
        "super",
        "switch",
        "tags",
        "this",
        "throw",
        "true",
        "try",
        "type",
        "typeof",
        "var",
        "void",
        "while",
        "with",
        "yield",
    ];
    match TAKEN.contains(&name.as_str()) {
        true => format!("{name}Table"),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_one_that_code_can_have() {
        for (name, camel_case, pascal_case, snake_case) in [
            ("user_events", "userEvents", "UserEvents", "user_events"),
            ("userEvents", "userEvents", "UserEvents", "user_events"),
            ("events_0_1", "events01", "Events01", "events_0_1"),
            ("2024 data", "t2024Data", "t2024Data", "t2024_data"),
            ("default", "defaultTable", "Default", "defaultTable"),
            ("été", "t", "T", "t"),
        ] {
            assert_eq!(camel(name), camel_case);
            assert_eq!(pascal(name), pascal_case);
            assert_eq!(snake(name), snake_case);
        }
    }
}
