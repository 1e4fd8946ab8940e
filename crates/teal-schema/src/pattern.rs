//! Patterns of names.

/// Whether `name` is what `pattern` means, in which `*` stands for any text.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).filter_map(|at| rest.get(at..)).any(|rest| matches(after, rest))
        }),
    }
}

/// Whether a pattern names the column `column` of `table`, as `table.column`. One without a dot names
/// tables, and no column: `e*` is none of `events`.
pub fn names_column(pattern: &str, table: &str, column: &str) -> bool {
    pattern.match_indices('.').any(|(at, _)| {
        let (of, name) = (&pattern[..at], &pattern[at + 1..]);
        matches(of, table) && matches(name, column)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("events", "events", true),
            ("events", "events_0_0", false),
            ("events*", "events_0_0", true),
            ("*", "", true),
            ("*_0_*", "events_0_1", true),
            ("*_0", "events_0_1", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_of_tables_names_no_column() {
        for (pattern, expected) in [
            ("events.n.a", true),
            ("ev*.n.*", true),
            ("*.*", true),
            ("events.*", true),
            ("e*", false),
            ("*", false),
            ("events.n", false),
            ("event.n.a", false),
        ] {
            assert_eq!(names_column(pattern, "events", "n.a"), expected, "{pattern}");
        }
    }
}
