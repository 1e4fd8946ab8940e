//! What the statement that makes green says, as far as the preflight asks for it.

use teal_schema::{clause, quote_ident, read_create, split_list};

/// The parts of a column, behind its type.
const OF_COLUMN: [&[&str]; 7] = [
    &["DEFAULT"],
    &["MATERIALIZED"],
    &["ALIAS"],
    &["EPHEMERAL"],
    &["COMMENT"],
    &["CODEC"],
    &["TTL"],
];

/// The columns of a table as its statement has them, read once: there may be thousands.
pub(super) struct Columns<'c>(Vec<&'c str>);

impl<'c> Columns<'c> {
    pub(super) fn of(create: &'c str) -> Self {
        let definitions = read_create(create).ok().flatten().and_then(|it| it.definitions);
        Self(split_list(definitions.unwrap_or_default()).unwrap_or_default())
    }

    pub(super) fn has(&self, column: &str) -> bool {
        let name = quote_ident(column);
        self.0.iter().any(|it| {
            it.split_whitespace().next() == Some(&name) || it.starts_with(&format!("{name} "))
        })
    }

    /// What stands behind `keyword` in the definition of a column.
    pub(super) fn part(&self, column: &str, keyword: &str) -> Option<String> {
        let name = quote_ident(column);
        let definition = self.0.iter().find_map(|it| {
            it.strip_prefix(&name).filter(|rest| rest.starts_with(char::is_whitespace))
        })?;
        clause(definition, &[keyword], &OF_COLUMN).ok()?.map(str::to_owned)
    }
}

/// A setting of the table, without quotes.
pub(super) fn setting(create: &str, name: &str) -> Option<String> {
    let settings = clause(create, &["SETTINGS"], &[&["COMMENT"]]).ok()??;
    split_list(settings).ok()?.iter().find_map(|setting| {
        let (is, value) = setting.split_once('=')?;
        (is.trim() == name).then(|| value.trim().trim_matches('\'').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_settings_are_found_by_name() {
        let create = "CREATE TABLE `a`.`b`\n(\n    `c` String MATERIALIZED f(d, 'TTL') COMMENT 'DEFAULT',\n    \
             `c d` Date CODEC(ZSTD(1)) TTL e + 1\n)\nENGINE = MergeTree\nORDER BY `c`\n\
             SETTINGS storage_policy = 'p2', x = 1\nCOMMENT 'y'";
        let columns = Columns::of(create);
        assert_eq!(columns.part("c", "MATERIALIZED").unwrap(), "f(d, 'TTL')");
        assert_eq!(columns.part("c", "TTL"), None);
        assert_eq!(columns.part("c d", "TTL").unwrap(), "e + 1");
        assert_eq!(columns.part("d", "TTL"), None);
        assert_eq!(setting(create, "storage_policy").unwrap(), "p2");
        assert_eq!(setting(create, "x").unwrap(), "1");
        assert_eq!(setting(create, "disk"), None);
    }
}
