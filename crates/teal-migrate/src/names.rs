use teal_client::{ClientError, Session};
use teal_schema::{QualifiedName, quote_ident};

use crate::failpoint;

/// The database on the target that holds the journal and everything teal makes for itself.
pub(crate) const TEAL_DATABASE: &str = "_teal";

/// Makes that database, where it is missing.
pub(crate) fn make_database(session: &mut dyn Session) -> Result<(), ClientError> {
    let name = quote_ident(TEAL_DATABASE);
    session.command(&format!("CREATE DATABASE IF NOT EXISTS {name}"))?;
    failpoint::made_if_missing();
    Ok(())
}

/// The name of this machine, as others are told it.
pub(crate) fn this_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Bytes of a name as that of a file: a table's may have some 200.
const LONGEST_STEM: usize = 120;

/// What the id of a migration to `green` begins with. The names of teal's own tables are longer than the id, so a
/// long name is cut: what comes behind it tells ids apart.
pub(crate) fn stem(green: &str) -> String {
    let mut length = 0;
    let fits = |letter: &char| {
        // ClickHouse writes each byte that is none of these as three.
        length += match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => 1,
            other => 3 * other.len_utf8(),
        };
        length <= LONGEST_STEM
    };
    green.chars().take_while(fits).collect()
}

/// The hard-link clone of blue that the backfill reads.
pub(crate) fn snapshot(migration: &str) -> QualifiedName {
    own(migration, "snapshot")
}

/// As the beginning of a role: every role has it.
pub(crate) const ANY_ROLE: &str = "";
pub(crate) const STAGING: &str = "staging_";

/// Where a worker builds a chunk before it is published.
pub(crate) fn staging(migration: &str, worker: usize) -> QualifiedName {
    own(migration, &format!("{STAGING}{worker}"))
}

/// Where chunks are published to while green has what came after them: its engine goes by the order of rows.
pub(crate) fn history(migration: &str) -> QualifiedName {
    own(migration, "history")
}

/// Green to be: the history, and behind it what the view has forwarded.
pub(crate) fn ordered(migration: &str) -> QualifiedName {
    own(migration, "ordered")
}

/// The clones of a verification, and what tells their rows. On a server, blue is cloned once more after the two, and
/// both once before.
pub(crate) const VERIFY: [&str; 7] =
    ["blue", "green", "later", "first_blue", "first_green", SURPLUS, COUNTED];

/// Which rows one of the clones alone has.
pub(crate) const SURPLUS: &str = "surplus";

/// How often a table has such rows.
pub(crate) const COUNTED: &str = "counted";

pub(crate) const CLONE: &str = "verify_";

/// Hard-link clones of both tables at one moment, for the verification.
pub(crate) fn verify(migration: &str, role: &str) -> QualifiedName {
    own(migration, &format!("{CLONE}{role}"))
}

/// The hashes of rows that green has too many.
pub(crate) fn extra(migration: &str) -> QualifiedName {
    own(migration, "extra")
}

/// Rows on their way from green back to blue.
pub(crate) fn back(migration: &str) -> QualifiedName {
    own(migration, "back")
}

/// Rows on their way into a table, past what reads it.
pub(crate) fn across(migration: &str) -> QualifiedName {
    own(migration, "across")
}

/// The view from green back to blue.
pub(crate) fn reverse(migration: &str) -> QualifiedName {
    own(migration, "reverse")
}

/// The alias that the logical name gets next.
pub(crate) fn alias(migration: &str) -> QualifiedName {
    own(migration, "alias")
}

/// A table on its way out.
pub(crate) fn retired(migration: &str) -> QualifiedName {
    own(migration, "retired")
}

fn own(migration: &str, role: &str) -> QualifiedName {
    QualifiedName::new(TEAL_DATABASE, format!("{migration}_{role}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_and_a_short_one_is_not() {
        assert_eq!(stem("events_1"), "events_1");
        assert_eq!(stem(&"e".repeat(200)), "e".repeat(120));
        assert_eq!(stem(&"ы".repeat(29)), "ы".repeat(20));
    }
}
