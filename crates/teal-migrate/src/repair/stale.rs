//! Why green has rows that blue lacks, and whether they may go.
//!
//! A view forwards INSERTs and nothing else. A mutation, a TTL, a dropped, replaced or truncated
//! partition on blue leaves green with rows that blue has no more. But a row that green alone has may also
//! be one that somebody wrote there. So rows are removed only if something is known to have happened to
//! blue, since the two were last known to be in step, that explains them, and nothing speaks against it.
//!
//! Signs are: blue's mutations that are about rows; parts of blue that are gone, or have fewer rows than before (see
//! [`crate::repair::seen`]); and, where there is `part_log`, parts that came and went since, and merges by a TTL.
//! Against it speak: parts of blue that the server has set aside as broken, for then green may have the
//! last copy; and, by `part_log`, INSERTs into green that did not come through the view.

use std::collections::BTreeSet;

use serde::Deserialize;
use teal_catalog::{Features, mentions};
use teal_client::TEAL_LOG_COMMENT;
use teal_plan::Cutover;
use teal_schema::{QualifiedName, quote_string};

use crate::cutover::missed::changes_rows;
use crate::journal::phase::Backfilled;
use crate::journal::state::Migrating;
use crate::logs::{self, of_data, parts_since};
use crate::repair::removal::Extra;
use crate::repair::seen::{PartsSeen, SeenPart};
use crate::{MigrateError, Operator, Phase};

/// Statements and partitions shown of many.
const SHOWN: usize = 3;
/// Characters of a statement that are shown.
const STATEMENT: usize = 120;

/// Something that has happened to blue.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    pub(crate) what: String,
    /// Partitions of blue that it touched, by id; nothing where that is not known.
    partitions: Option<BTreeSet<String>>,
}

/// What is known of blue since it was last seen.
#[derive(Debug, Default)]
struct Evidence {
    causes: Vec<Cause>,
    /// Why green's rows must not go, whatever the causes.
    against: Option<String>,
}

impl Operator<'_> {
    /// The causes of these rows of green; or why they must stay.
    pub(crate) fn explain(
        &self,
        migrating: &Migrating,
        extra: &Extra,
    ) -> Result<Result<Vec<String>, String>, MigrateError> {
        if matches!(&migrating.phase, Phase::Backfilled(Backfilled { rest: true, .. })) {
            let reason = "the rollback has not carried all of them back yet (`teal rollback` does)";
            return Ok(Err(reason.to_owned()));
        }
        let Some(seen) = &migrating.seen else {
            return Ok(Err("it is not known what blue was like before".to_owned()));
        };
        // What speaks against it then, that log alone would tell.
        let may_be_written = migrating.moved_by == Some(Cutover::App)
            && matches!(&migrating.phase, Phase::Backfilled(Backfilled { rolled_back: true, .. }));
        if may_be_written
            && !self.with_control(|session| Features::read(session))?.part_log.is_there
        {
            let reason = "without part_log, they are not told from those of somebody who is still on the new table since the rollback";
            return Ok(Err(reason.to_owned()));
        }
        let evidence = self.evidence(migrating, seen)?;
        if let Some(against) = evidence.against {
            return Ok(Err(against));
        }
        if evidence.causes.is_empty() {
            return Ok(Err("there is no sign that blue has lost any".to_owned()));
        }
        if self.has_same_partitions(migrating)? {
            let touched = |id: &String| {
                let by = |cause: &Cause| cause.partitions.as_ref().is_none_or(|it| it.contains(id));
                evidence.causes.iter().any(by)
            };
            let untouched = extra.partitions().into_iter().filter(|id| !touched(id));
            let untouched = untouched.collect::<Vec<_>>();
            if !untouched.is_empty() {
                return Ok(Err(format!(
                    "there is no sign that blue has lost any of partition {}",
                    first_of(&untouched)
                )));
            }
        }
        Ok(Ok(evidence.causes.into_iter().map(|cause| cause.what).collect()))
    }

    /// Waits for the end of blue's mutations: what they have not come to yet is in blue still, and would
    /// be lacking there a moment later.
    pub(crate) fn wait_for_mutations(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        const LOOK: std::time::Duration = std::time::Duration::from_millis(50);
        let blue = migrating.tables_now().0;
        let mut waiting = self.observer.wait();
        loop {
            match self.refuse_mutating(blue) {
                Err(MigrateError::MutationsRunning { first, .. })
                    if waiting.elapsed() < self.options.fence_timeout =>
                {
                    waiting.tell(|| format!("the end of a mutation of {blue}: {first}"));
                    self.check_lock()?;
                    std::thread::sleep(LOOK);
                }
                other => return other,
            }
        }
    }

    /// How blue is, at a moment at which no mutation is under way: one that was made before it, and is done
    /// behind the proof, would be a sign of nothing.
    pub(crate) fn see_without_mutations(
        &self,
        migrating: &Migrating,
    ) -> Result<PartsSeen, MigrateError> {
        let blue = migrating.tables_now().0;
        loop {
            match self.see_at_rest(blue) {
                Err(MigrateError::MutationsRunning { .. }) => self.wait_for_mutations(migrating)?,
                other => return other,
            }
        }
    }

    fn evidence(&self, migrating: &Migrating, seen: &PartsSeen) -> Result<Evidence, MigrateError> {
        let blue = migrating.tables_now().0;
        let mut evidence = Evidence::default();
        let mut mutations = self.mutations_after(blue, seen)?;
        mutations.retain(|mutation| changes_rows(&mutation.command));
        evidence.causes.extend(mutations.iter().map(|mutation| Cause {
            what: format!("{} of blue: {}", mutation.mutation_id, shortened(&mutation.normalized)),
            partitions: None,
        }));
        evidence.causes.extend(self.patches(blue, seen.time)?);
        let mut seen = seen.clone();
        let features = self.with_control(|session| Features::read(session))?;
        if features.part_log.is_there {
            self.command("SYSTEM FLUSH LOGS")?;
            evidence.causes.extend(self.ttl_merges(blue, seen.time)?);
            let fenced = migrating.fenced.unwrap_or(seen.time);
            let writes = self.writes_past_the_view(&features, migrating, fenced, seen.time)?;
            for write in writes {
                match write.is_of_blue {
                    1 => evidence.causes.push(Cause {
                        what: format!(
                            "the INSERT {} reached green alone: it failed half-way, or was sent again and blue had it",
                            write.query_id
                        ),
                        partitions: Some(write.partitions.into_iter().collect()),
                    }),
                    _ => {
                        evidence.against = Some(format!(
                            "INSERTs have written to green itself (query_id {})",
                            write.query_id
                        ));
                    }
                }
            }
            seen = match self.has_log_of_parts()? {
                true => self.and_logged(blue, &seen)?,
                false => {
                    self.add_logged(&parts_since(&blue.condition("table"), seen.time), &mut seen)?;
                    seen
                }
            };
        }
        let fate = seen.fate(&self.see(blue)?);
        let broken = self.broken_parts(blue)?;
        if let Some(id) = fate.gone.iter().find(|id| broken.contains(*id)) {
            evidence.against = Some(format!(
                "the server has set parts of blue's partition {id} aside as broken (system.detached_parts): green may have the last copy"
            ));
        }
        let statements = match features.query_log.is_there {
            true => self.statements_on(blue, seen.time)?,
            false => String::new(),
        };
        if !fate.gone.is_empty() {
            let ids = fate.gone.iter().cloned().collect::<Vec<_>>();
            evidence.causes.push(Cause {
                what: format!("parts of blue's partition {} went{statements}", first_of(&ids)),
                partitions: Some(fate.gone),
            });
        }
        if !fate.fewer.is_empty() && !self.folds_by_itself(blue)? {
            let ids = fate.fewer.iter().cloned().collect::<Vec<_>>();
            evidence.causes.push(Cause {
                what: format!("parts of blue's partition {} lost rows{statements}", first_of(&ids)),
                partitions: Some(fate.fewer),
            });
        }
        Ok(evidence)
    }

    /// The mutations that were made of a table, in their order.
    pub(crate) fn mutations(
        &self,
        table: &QualifiedName,
        since: u32,
    ) -> Result<Vec<Mutation>, MigrateError> {
        Ok(self.with_control(|session| {
            session.rows(&format!(
                "SELECT mutation_id, command, normalizeQuery(command) AS normalized FROM system.mutations \
                 WHERE {} AND create_time >= toDateTime({since}) \
                 ORDER BY create_time",
                table.condition("table")
            ))
        })?)
    }

    /// Those that were made after a table was seen.
    pub(crate) fn mutations_after(
        &self,
        table: &QualifiedName,
        seen: &PartsSeen,
    ) -> Result<Vec<Mutation>, MigrateError> {
        let mut mutations = self.mutations(table, seen.mutations_since)?;
        mutations.retain(|mutation| !seen.mutations.contains(&mutation.mutation_id));
        Ok(mutations)
    }

    /// Updates that are not mutations, and lie in parts of their own beside those that they change.
    fn patches(&self, table: &QualifiedName, since: u32) -> Result<Option<Cause>, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            parts: u64,
        }
        let Row { parts } = self.with_control(|session| {
            session.row(&format!(
                "SELECT count() AS parts FROM system.parts \
                 WHERE {} AND startsWith(partition_id, 'patch-') \
                     AND modification_time >= toDateTime({since})",
                table.condition("table")
            ))
        })?;
        let what = format!("a lightweight update of {table}");
        Ok((parts > 0).then_some(Cause { what, partitions: None }))
    }

    /// The same, also of those that merges have applied: what a merge makes has their version, as if they were
    /// mutations (26.7). So has what a mutation made that was killed, where updates of this kind are possible at all;
    /// therefore it speaks against a step, and explains no row.
    pub(crate) fn lightweight_update(
        &self,
        table: &QualifiedName,
        seen: &PartsSeen,
    ) -> Result<Option<String>, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            parts: u64,
        }
        if let Some(cause) = self.patches(table, seen.time)? {
            return Ok(Some(cause.what));
        }
        let version = seen.version;
        let of = table.condition("table");
        let Row { parts } = self.with_control(|session| {
            session.row(&format!(
                "SELECT count() AS parts FROM system.parts \
                 WHERE active AND {of} AND data_version > greatest(min_block_number, {version}) \
                     AND data_version NOT IN (\
                         SELECT arrayJoin(block_numbers.number) FROM system.mutations WHERE {of}) \
                     AND ((SELECT count() FROM system.tables \
                             WHERE {} AND match(engine_full, 'enable_block_number_column = (1|true)')) > 0 \
                         OR (SELECT count() FROM system.merge_tree_settings \
                             WHERE name = 'enable_block_number_column' AND value IN ('1', 'true')) > 0)",
                table.condition("name")
            ))
        })?;
        Ok((parts > 0).then(|| format!("a lightweight update of {table}")))
    }

    fn ttl_merges(&self, blue: &QualifiedName, since: u32) -> Result<Option<Cause>, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            partitions: Vec<String>,
        }
        let Row { partitions } = self.with_control(|session| {
            session.row(&format!(
                "SELECT arraySort(groupUniqArray(partition_id)) AS partitions FROM system.part_log \
                 WHERE {} AND event_type = 'MergeParts' AND merge_reason IN ('TTLDeleteMerge', 'TTLDropMerge')",
                parts_since(&blue.condition("table"), since)
            ))
        })?;
        Ok((!partitions.is_empty()).then(|| Cause {
            what: format!("the TTL of blue, in partition {}", first_of(&partitions)),
            partitions: Some(partitions.into_iter().collect()),
        }))
    }

    /// INSERTs that made a part of green and none of blue, and are not teal's. One that was meant for blue went
    /// through the view, also where it failed; `INSERT INTO green SELECT … FROM blue` did not (`views`, 26.9).
    fn writes_past_the_view(
        &self,
        features: &Features,
        migrating: &Migrating,
        fenced: u32,
        since: u32,
    ) -> Result<Vec<Write>, MigrateError> {
        let (blue, green) = migrating.tables_now();
        let comment = quote_string(TEAL_LOG_COMMENT);
        let (own, of_blue) = match features.query_log.is_there {
            true => (
                format!(
                    "AND query_id NOT IN (SELECT query_id FROM system.query_log \
                         WHERE event_date >= toDate(toDateTime({since})) - 1 AND startsWith(log_comment, {comment}))"
                ),
                format!(
                    "query_id IN (SELECT query_id FROM system.query_log \
                         WHERE event_date >= toDate(toDateTime({since})) - 1 AND {} AND {})",
                    mentions("tables", blue),
                    mentions("views", &migrating.migration.view)
                ),
            ),
            false => (String::new(), "0".to_owned()),
        };
        Ok(self.with_control(|session| {
            session.rows(&format!(
                "SELECT query_id, toUInt8({of_blue}) AS is_of_blue, \
                     arraySort(groupUniqArray(partition_id)) AS partitions \
                 FROM system.part_log \
                 WHERE {} AND event_type = 'NewPart' AND rows > 0 AND NOT startsWith(query_id, 'teal-') \
                     AND query_id NOT IN (SELECT query_id FROM system.part_log \
                         WHERE {} AND event_type = 'NewPart') {own} \
                 GROUP BY query_id ORDER BY query_id",
                parts_since(&green.condition("table"), since),
                parts_since(&blue.condition("table"), fenced)
            ))
        })?)
    }

    /// What was seen of a table, with what has come since, as far as the log tells. By the data: names may have
    /// changed places meanwhile.
    pub(crate) fn and_logged(
        &self,
        table: &QualifiedName,
        seen: &PartsSeen,
    ) -> Result<PartsSeen, MigrateError> {
        let mut seen = seen.clone();
        if self.has_log_of_parts()? {
            self.command("SYSTEM FLUSH LOGS")?;
            let of = of_data(&self.data_of(table)?);
            self.add_logged(&parts_since(&of, seen.time), &mut seen)?;
        }
        Ok(seen)
    }

    /// Whether a log tells of all parts that came to a table since the last look at it.
    pub(crate) fn logs_parts_since_look(
        &self,
        migrating: &Migrating,
        table: &QualifiedName,
    ) -> Result<bool, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            first: u32,
        }
        let seen = match &migrating.phase {
            Phase::CutOver(state) if table == migrating.tables_now().1 => Some(&state.new_seen),
            _ => migrating.seen.as_ref(),
        };
        let Some(seen) = seen.filter(|seen| seen.time > 0) else {
            return Ok(false);
        };
        if !self.has_log_of_parts()? {
            return Ok(false);
        }
        // Its TTL may have come to the oldest entries.
        self.command("SYSTEM FLUSH LOGS")?;
        let Row { first } = self.with_control(|session| {
            session.row("SELECT toUnixTimestamp(min(event_time)) AS first FROM system.part_log")
        })?;
        // A server that was killed has not written its last entries.
        Ok(first <= seen.time && self.server_start()? <= i64::from(seen.time))
    }

    /// Parts that came since, by the log.
    fn add_logged(&self, of: &str, seen: &mut PartsSeen) -> Result<(), MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            partition_id: String,
            /// The first block, the last one, and rows.
            parts: Vec<(i64, i64, u64)>,
        }
        // A part of no rows is put where others were dropped. In the name of a part its blocks follow the
        // partition: `partition_first_last_level`, and perhaps a mutation's.
        let partitions = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT partition_id, groupArray([toInt64(blocks[1]), toInt64(blocks[2]), toInt64(rows)]) AS parts \
                 FROM (\
                     SELECT partition_id, rows, \
                         splitByChar('_', substring(part_name, length(partition_id) + 2)) AS blocks \
                     FROM system.part_log \
                     WHERE {of} AND event_type = 'NewPart' AND rows > 0 \
                         AND NOT startsWith(partition_id, 'patch-')\
                 ) GROUP BY partition_id"
            ))
        })?;
        for Row { partition_id, parts } in partitions {
            let part = |(first, last, rows)| SeenPart { first, last, rows, has_deleted: false };
            seen.add(partition_id, parts.into_iter().map(part));
        }
        Ok(())
    }

    /// Partitions of which the server has set parts aside because they were broken.
    pub(crate) fn broken_parts(
        &self,
        table: &QualifiedName,
    ) -> Result<BTreeSet<String>, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            partition_id: String,
        }
        let rows = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT DISTINCT ifNull(partition_id, '') AS partition_id FROM system.detached_parts \
                 WHERE {} AND startsWith(ifNull(reason, ''), 'broken')",
                table.condition("table")
            ))
        })?;
        Ok(rows.into_iter().map(|row| row.partition_id).collect())
    }

    /// Who has done what to blue, in words.
    fn statements_on(&self, blue: &QualifiedName, since: u32) -> Result<String, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            user: String,
            query: String,
            at: String,
        }
        let rows = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT user, normalizeQuery(query) AS query, toString(event_time) AS at FROM system.query_log \
                 WHERE type = 'QueryFinish' AND {} AND {} \
                     AND query_kind IN ('Alter', 'Delete', 'Update', 'Drop', 'Truncate') \
                     AND NOT startsWith(log_comment, {}) \
                 ORDER BY event_time DESC LIMIT {SHOWN}",
                logs::since(since),
                mentions("tables", blue),
                quote_string(TEAL_LOG_COMMENT)
            ))
        })?;
        let said = rows
            .iter()
            .map(|row| format!("`{}` by {} at {}", shortened(&row.query), row.user, row.at));
        let said = said.collect::<Vec<_>>().join("; ");
        Ok(if said.is_empty() { said } else { format!(" ({said})") })
    }

    /// Whether merges of the table make fewer rows without losing any.
    pub(crate) fn folds_by_itself(&self, table: &QualifiedName) -> Result<bool, MigrateError> {
        let (engine, _) = self.engine_and_partition_key(table)?;
        Ok(!matches!(engine.as_str(), "MergeTree" | "ReplicatedMergeTree" | "SharedMergeTree"))
    }

    /// Whether merges of the table make fewer rows, and never let the newest of a key go. By a TTL, or where they may
    /// forget deleted rows, they do.
    pub(crate) fn keeps_newest(&self, table: &QualifiedName) -> Result<bool, MigrateError> {
        let catalog = self.catalog_of(&[table])?;
        let Some(table) = catalog.table(table) else { return Ok(false) };
        Ok(table.ttl()?.is_none() && !table.engine_full.contains("replacing_merge_with_cleanup"))
    }

    /// Whether a row's partition has the same id in both tables.
    fn has_same_partitions(&self, migrating: &Migrating) -> Result<bool, MigrateError> {
        let migration = &migrating.migration;
        let (_, key) = self.engine_and_partition_key(migrating.tables_now().0)?;
        Ok(migration.is_identity
            && migration.fills_green
            && migration.columns.iter().all(|column| column.from_type.is_none())
            && key == migration.green_partition_key)
    }

    fn engine_and_partition_key(
        &self,
        table: &QualifiedName,
    ) -> Result<(String, String), MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            engine: String,
            partition_key: String,
        }
        let row: Row = self.with_control(|session| {
            session.row(&format!(
                "SELECT engine, partition_key FROM system.tables WHERE {}",
                table.condition("name")
            ))
        })?;
        Ok((row.engine, row.partition_key))
    }
}

/// A change of rows in place.
#[derive(Debug, Deserialize)]
pub(crate) struct Mutation {
    pub(crate) mutation_id: String,
    pub(crate) command: String,
    /// Without the users' values, which the journal would keep for good.
    normalized: String,
}

/// An INSERT into green.
#[derive(Debug, Deserialize)]
struct Write {
    query_id: String,
    /// It was told to write to blue.
    is_of_blue: u8,
    /// Partitions of green that it wrote to.
    partitions: Vec<String>,
}

pub(crate) fn shortened(statement: &str) -> String {
    let words = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(STATEMENT) {
        Some((end, _)) => format!("{}…", words.get(..end).unwrap_or_default()),
        None => words,
    }
}

/// The first of some names, and how many more there are.
pub(crate) fn first_of(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut() {
        let names = ["a", "b", "c", "d", "e"].map(str::to_owned);
        assert_eq!(first_of(&names), "a, b, c and 2 more");
        assert_eq!(first_of(&names[..1]), "a");
        assert_eq!(shortened("ALTER  TABLE\n t"), "ALTER TABLE t");
    }
}
