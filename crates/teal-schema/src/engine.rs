use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{call, split_list};

/// A table engine: its name and its arguments as SQL texts, such as `ReplacingMergeTree(updated_at)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    pub name: String,
    /// Each argument as it stands in SQL: a column quoted as an identifier, a text as a string.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
}

/// The longest name of a compression method, `'brotli'` and `'deflate'` among them, as it stands in SQL. Keys are longer.
const MOST_OF_COMPRESSION: usize = 9;

impl Engine {
    pub fn merge_tree() -> Self {
        Self { name: "MergeTree".to_owned(), arguments: Vec::new() }
    }

    /// Whether the engine keeps parts: the MergeTree family, replicated or not.
    pub fn is_merge_tree(&self) -> bool {
        self.name.ends_with("MergeTree")
    }

    /// Whether merges change rows (fold or drop them), so that parity is that of the folded rows.
    pub fn folds_rows(&self) -> bool {
        self.is_merge_tree() && self.kind() != "MergeTree"
    }

    /// What its merges do, wherever its parts lie: the name without `Replicated` or `Shared`.
    pub fn kind(&self) -> &str {
        let name = self.name.as_str();
        let without = ["Replicated", "Shared"].iter().find_map(|kind| name.strip_prefix(kind));
        without.unwrap_or(name)
    }

    /// The arguments that are nobody else's to read, as they stand in SQL: of an engine over object storage with
    /// a key (path, key id, key, format, …) the key, of one over another database the password, of Azure's the key or
    /// what holds it, what its headers say, and what is named as such.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let is_text = |argument: &&String| argument.starts_with('\'');
        let texts = self.arguments.iter().filter(is_text).collect::<Vec<_>>();
        let is_of_storage = ["S3", "Iceberg", "DeltaLake", "Hudi", "COSN", "OSS", "GCS"]
            .iter()
            .any(|name| self.name.starts_with(name));
        let key = texts.get(2).filter(|_| is_of_storage && texts.len() > 3);
        let is_of_database = ["MaterializedPostgreSQL", "PostgreSQL", "MySQL", "MongoDB"]
            .contains(&self.name.as_str());
        let is_azure = self.name.contains("Azure");
        // Where Azure is given no account, a format and a compression stand in its place.
        let is_account = |key: &str| key.len() > MOST_OF_COMPRESSION;
        let password =
            texts.get(4).filter(|key| is_of_database || is_azure && is_account(key.as_str()));
        let holds_key = |text: &str| {
            ["AccountKey=", "SharedAccessSignature=", "sig="].iter().any(|it| text.contains(it))
        };
        let connection = texts.iter().filter(|text| is_azure && holds_key(text));
        let named = self.arguments.iter().filter_map(|argument| {
            let (name, value) = argument.split_once('=')?;
            const NAMES: &[&str] = &[
                "password",
                "secret_access_key",
                "session_token",
                "account_key",
                "connection_string",
            ];
            NAMES.contains(&name.trim()).then(|| value.trim().to_owned())
        });
        let headers = self.arguments.iter().filter_map(|argument| match call(argument) {
            Ok(("headers", Some(inside))) => split_list(inside).ok(),
            _ => None,
        });
        let values = headers.flatten().filter_map(|pair| pair.split_once("' = "));
        let values = values.map(|(_, value)| value.to_owned());
        let placed = key.into_iter().chain(password).chain(connection).map(|text| (*text).clone());
        placed.chain(named).chain(values).collect()
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.arguments.is_empty() {
            true => Ok(()),
            false => write!(f, "({})", self.arguments.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_folds_rows_wherever_its_parts_lie() {
        let folds =
            |name: &str| Engine { name: name.to_owned(), arguments: Vec::new() }.folds_rows();
        for name in ["MergeTree", "ReplicatedMergeTree", "SharedMergeTree", "Log"] {
            assert!(!folds(name), "{name}");
        }
        for name in ["SummingMergeTree", "ReplicatedSummingMergeTree", "SharedReplacingMergeTree"] {
            assert!(folds(name), "{name}");
        }
    }

    #[test]
    fn keys_and_headers_are_secret_and_paths_and_formats_are_not() {
        let secrets = |name: &str, arguments: &[&str]| {
            let arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
            Engine { name: name.to_owned(), arguments }.secrets()
        };
        assert_eq!(
            secrets("S3Queue", &["'s3://b'", "'id'", "'key'", "'CSV'", "'gzip'"]),
            ["'key'"]
        );
        assert_eq!(secrets("IcebergS3", &["'s3://b'", "'id'", "'key'", "'Parquet'"]), ["'key'"]);
        assert!(secrets("S3", &["'s3://b'", "NOSIGN", "'CSV'", "'gzip'"]).is_empty());
        assert!(
            secrets("S3", &["'s3://b'", "'CSV'", "'gzip'", "partition_strategy = 'hive'"])
                .is_empty()
        );
        assert!(secrets("Kafka", &["'a:1'", "'topic'", "'group'", "'CSV'"]).is_empty());
        assert_eq!(
            secrets("MaterializedPostgreSQL", &["'a:1'", "'db'", "'t'", "'ana'", "'word'"]),
            ["'word'"]
        );
        assert_eq!(secrets("IcebergS3", &["named", "secret_access_key = 'key'"]), ["'key'"]);
        let connection = "'BlobEndpoint=http://a;AccountKey=key;'";
        assert_eq!(secrets("AzureQueue", &[connection, "'b'", "'*'", "'CSV'"]), [connection]);
        let headers = "headers('Authorization' = 'Bearer, a', 'B' = 'c')";
        assert_eq!(secrets("S3Queue", &["'s3://b'", "'CSV'", headers]), ["'Bearer, a'", "'c'"]);
    }
}
