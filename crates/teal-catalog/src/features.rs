use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use teal_client::{ClientError, Session};

/// What a server can do, as far as teal depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    pub version: String,
    /// Which query wrote which part (`part_log`).
    pub part_log: Feature,
    /// Who reads and writes a table (`query_log`).
    pub query_log: Feature,
    /// A name that stands for another table (the engine `Alias`).
    pub alias: Feature,
    /// Parts that go into a table of another engine by hard links are folded there as if they had been
    /// inserted.
    pub clone_across_engines: Feature,
    /// The server says whether its user has a right (`CHECK GRANT`).
    pub check_grant: Feature,
    /// Settings that the server's configuration changes for all tables of the MergeTree family; none, where its user
    /// may not read them.
    pub merge_tree: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Feature {
    pub is_there: bool,
    /// The probe or the version that says so.
    pub known_from: String,
}

impl Features {
    /// # Errors
    /// When the server cannot be asked.
    pub fn read(session: &mut dyn Session) -> Result<Self, ClientError> {
        #[derive(Deserialize)]
        struct Row {
            version: String,
            part_log: u64,
            query_log: u64,
            alias: u64,
        }
        #[derive(Deserialize)]
        struct Setting {
            name: String,
            value: String,
        }
        let row = session.row::<Row>(
            "SELECT version() AS version, \
                 (SELECT count() FROM system.tables WHERE database = 'system' AND name = 'part_log') AS part_log, \
                 (SELECT count() FROM system.tables WHERE database = 'system' AND name = 'query_log') AS query_log, \
                 (SELECT count() FROM system.table_engines WHERE name = 'Alias') AS alias",
        )?;
        let merge_tree = match session
            .rows::<Setting>("SELECT name, value FROM system.merge_tree_settings WHERE changed")
        {
            Err(error) if error.server_name() == Some("ACCESS_DENIED") => Vec::new(),
            settings => settings?,
        };
        let probed =
            |count: u64, probe: &str| Feature { is_there: count > 0, known_from: probe.to_owned() };
        let by_version =
            |is_there: bool| Feature { is_there, known_from: format!("version {}", row.version) };
        Ok(Self {
            part_log: probed(row.part_log, "the table system.part_log"),
            query_log: probed(row.query_log, "the table system.query_log"),
            alias: probed(row.alias, "system.table_engines"),
            clone_across_engines: by_version(clones_across_engines(&row.version)),
            merge_tree: merge_tree.into_iter().map(|it| (it.name, it.value)).collect(),
            check_grant: by_version(numbers(&row.version) >= [24, 11, 0]),
            version: row.version,
        })
    }
}

/// Before these releases, parts of a `MergeTree` that were attached to a table of another engine were
/// taken for merged already, and `FINAL` did not look at their rows.
fn clones_across_engines(version: &str) -> bool {
    match numbers(version) {
        [26, 3, patch] => patch >= 17,
        [26, 4, patch] => patch >= 5,
        [26, 5, patch] => patch >= 6,
        other => other >= [26, 6, 0],
    }
}

fn numbers(version: &str) -> [u32; 3] {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_that_take_cloned_parts_for_merged_are_known() {
        for good in ["26.7.2.1", "26.6.1.1", "26.3.17.2", "26.4.5.1", "26.5.6.9", "27.1.1.1"] {
            assert!(clones_across_engines(good), "{good}");
        }
        for bad in ["26.3.16.9", "26.4.4.1", "26.5.5.1", "25.8.20.1", "26.2.99.1", "23.8.1.1"] {
            assert!(!clones_across_engines(bad), "{bad}");
        }
    }
}
