//! A clone of a table as it is while the gate is closed.
//!
//! To clone takes about a millisecond for each part (26.7), for which INSERTs wait. So a table of many partitions
//! is cloned before, and behind the gate those of its partitions once more whose parts are not the clone's. These
//! are told by the hashes of the parts' files, in the order of the parts: whatever has come and gone meanwhile,
//! equal parts have equal rows.

use serde::Deserialize;
use teal_schema::{QualifiedName, quote_string};

use crate::names::TEAL_DATABASE;
use crate::{MigrateError, Operator, failpoint};

/// A table of fewer partitions is cloned behind the gate.
const MANY: u64 = 100;

/// The condition on `system.parts` that a part is a patch, which changes what others say.
pub(crate) const IS_PATCH: &str = "startsWith(partition_id, 'patch-')";

/// To replace a partition takes five times as long as to attach it (26.7).
const FEW: usize = 5;

impl Operator<'_> {
    /// Clones a table of many partitions into one that nobody else knows, while nobody waits. Says whether it did.
    pub(crate) fn clone_ahead(
        &self,
        from: &QualifiedName,
        into: &QualifiedName,
    ) -> Result<bool, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            partitions: u64,
            patches: u64,
        }
        let Row { partitions, patches } = self.with_control(|session| {
            session.row(&format!(
                "SELECT uniqExact(partition_id) AS partitions, \
                     countIf({IS_PATCH}) AS patches \
                 FROM system.parts WHERE active AND {}",
                from.condition("table")
            ))
        })?;
        let is_large = partitions > MANY && patches == 0;
        if is_large {
            self.attach_all(from, into)?;
            // What has changed in that time: what is left for later are the changes of milliseconds.
            self.clone_now(from, into, true)?;
            failpoint::reached("cloned-ahead");
        }
        Ok(is_large)
    }

    /// Makes `into` a clone of `from`, which it may be in large part: behind the gate, that of one moment.
    pub(crate) fn clone_now(
        &self,
        from: &QualifiedName,
        into: &QualifiedName,
        is_ahead: bool,
    ) -> Result<(), MigrateError> {
        if !is_ahead {
            return self.attach_all(from, into);
        }
        let partitions = self.partitions_of_both(from, into)?;
        // A patch part changes what other parts say, and is cloned with them only.
        let is_patched = partitions.iter().any(|partition| partition.id.starts_with("patch-"));
        let differing = partitions.iter().filter(|partition| partition.differs == 1);
        if is_patched || differing.clone().count() > partitions.len() / FEW {
            self.command(&format!("TRUNCATE TABLE {}", into.sql()))?;
            return self.attach_all(from, into);
        }
        for Partition { id, is_there, .. } in differing {
            let (into, id) = (into.sql(), quote_string(id));
            self.command(&match is_there {
                0 => format!("ALTER TABLE {into} DROP PARTITION ID {id}"),
                _ => format!("ALTER TABLE {into} REPLACE PARTITION ID {id} FROM {}", from.sql()),
            })?;
        }
        Ok(())
    }

    /// One statement, one moment, no bytes copied; `ALL` covers every partition. No view forwards what is attached.
    ///
    /// Releases before 24.4 take one partition at a time, so on such a server each is of a moment of its own.
    ///
    /// # Errors
    /// [`MigrateError::PatchesUnapplied`] where an UPDATE would be left behind.
    pub(crate) fn attach_all(
        &self,
        from: &QualifiedName,
        into: &QualifiedName,
    ) -> Result<(), MigrateError> {
        // Nobody updates teal's own tables.
        if from.database == TEAL_DATABASE {
            return self.attach_parts(from, into);
        }
        let last = self.last_patch(from)?;
        self.attach_parts(from, into)?;
        // One that came meanwhile may have been applied meanwhile, to a part that the clone has not.
        match self.last_patch(from)? > last {
            true => Err(MigrateError::PatchesUnapplied { table: from.clone() }),
            false => Ok(()),
        }
    }

    fn attach_parts(&self, from: &QualifiedName, into: &QualifiedName) -> Result<(), MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            id: String,
        }
        let attach = |what: &str| {
            format!("ALTER TABLE {} ATTACH PARTITION {what} FROM {}", into.sql(), from.sql())
        };
        match self.command(&attach("ALL")) {
            // Another statement that it does not support, say one that leaves patches behind, it does not support for
            // each partition either.
            Err(MigrateError::Client(error))
                if error.server_name() == Some("SUPPORT_IS_DISABLED")
                    && error.to_string().contains("DETACH PARTITION ALL") => {}
            other => return other,
        }
        let partitions = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT DISTINCT partition_id AS id FROM system.parts \
                 WHERE active AND rows > 0 AND NOT {IS_PATCH} AND {}",
                from.condition("table")
            ))
        })?;
        for Row { id } in partitions {
            self.command(&attach(&format!("ID {}", quote_string(&id))))?;
        }
        Ok(())
    }

    /// The block of the last patch, in which an UPDATE lies; 0 where there is none. Releases before 26.7 clone parts
    /// without their patches, and say nothing.
    ///
    /// One that was applied lies beside the parts for a while (26.9): they have its version, or a later one.
    ///
    /// # Errors
    /// [`MigrateError::PatchesUnapplied`] where a part is older than a patch of its partition.
    fn last_patch(&self, table: &QualifiedName) -> Result<i64, MigrateError> {
        #[derive(Deserialize)]
        struct Last {
            last: i64,
        }
        #[derive(Deserialize)]
        struct Row {
            unapplied: u64,
        }
        let of = table.condition("table");
        let Last { last } = self.with_control(|session| {
            session.row(&format!(
                "SELECT toInt64(max(max_block_number)) AS last \
                 FROM system.parts WHERE active AND rows > 0 AND {IS_PATCH} AND {of}"
            ))
        })?;
        if last == 0 {
            return Ok(0);
        }
        let Row { unapplied } = self.with_control(|session| {
            session.row(&format!(
                "SELECT countIf(parts > 0 AND oldest < newest) AS unapplied FROM (\
                     SELECT replaceRegexpOne(partition_id, '^patch-[0-9a-f]+-', '') AS of, \
                         countIf(NOT is_patch) AS parts, minIf(data_version, NOT is_patch) AS oldest, \
                         maxIf(data_version, is_patch) AS newest \
                     FROM (\
                         SELECT partition_id, data_version, {IS_PATCH} AS is_patch \
                         FROM system.parts WHERE active AND rows > 0 AND {of}\
                     ) GROUP BY of)"
            ))
        })?;
        match unapplied {
            0 => Ok(last),
            _ => Err(MigrateError::PatchesUnapplied { table: table.clone() }),
        }
    }

    fn partitions_of_both(
        &self,
        from: &QualifiedName,
        into: &QualifiedName,
    ) -> Result<Vec<Partition>, MigrateError> {
        Ok(self.with_control(|session| {
            session.rows(&format!(
                "SELECT partition_id AS id, countIf(is_it) > 0 AS is_there, \
                     arraySort(groupArrayIf((first, hash), is_it)).2 != arraySort(groupArrayIf((first, hash), NOT is_it)).2 \
                         AS differs \
                 FROM (\
                     SELECT partition_id, {} AS is_it, min_block_number AS first, hash_of_all_files AS hash \
                     FROM system.parts WHERE active AND rows > 0 AND {}\
                 ) GROUP BY id",
                from.condition("table"),
                QualifiedName::condition_of_any(&[from, into], "table")
            ))
        })?)
    }
}

/// Of either table or both.
#[derive(Debug, Deserialize)]
struct Partition {
    id: String,
    /// In the table that is cloned.
    is_there: u8,
    /// The two have other parts.
    differs: u8,
}
