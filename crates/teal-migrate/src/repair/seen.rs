//! What blue's parts were at a moment at which green was known to get all of their rows. What has
//! become of them since tells whether blue lost rows behind the view's back.
//!
//! An INSERT makes a part with a block number of its own; a merge or a mutation makes one whose range of
//! numbers covers those that it was made of. So a part that nothing covers any more was dropped,
//! detached, replaced or truncated. (The server may put a part of no rows in its place, for a while; such
//! parts are left out.) And no merge makes fewer rows than it was given, unless a TTL or an
//! engine that folds rows takes some, or rows were deleted before.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use teal_client::{ClientError, Session};
use teal_schema::QualifiedName;

use crate::repair::stale::shortened;
use crate::{MigrateError, Operator};

/// The parts of blue at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartsSeen {
    /// By the server's clock, in seconds since 1970. What happened to blue earlier is in `parts`.
    pub time: u32,
    /// Mutations that were made since then are told, save those that were done before.
    pub mutations_since: u32,
    /// Those that were done before.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub mutations: BTreeSet<String>,
    /// The newest block of its parts, or the newest mutation or update that was applied to one.
    pub version: i64,
    /// By partition. The last field: of past entries, what comes from here on is not read.
    pub parts: BTreeMap<String, Vec<SeenPart>>,
}

/// A part, as the journal has it in few bytes: a table has thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct SeenPart {
    /// The first block and the last one.
    pub first: i64,
    pub last: i64,
    pub rows: u64,
    /// Some of them are deleted already: a lightweight DELETE marks them, and the next merge drops them.
    pub has_deleted: bool,
}

#[derive(Serialize, Deserialize)]
struct Written(i64, i64, u64, #[serde(default, skip_serializing_if = "std::ops::Not::not")] bool);

impl From<Written> for SeenPart {
    fn from(Written(first, last, rows, has_deleted): Written) -> Self {
        Self { first, last, rows, has_deleted }
    }
}

impl From<SeenPart> for Written {
    fn from(SeenPart { first, last, rows, has_deleted }: SeenPart) -> Self {
        Self(first, last, rows, has_deleted)
    }
}

/// What has come to a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Newer {
    /// The last block of before.
    pub(crate) last_before: i64,
    /// Rows of the parts that have later ones.
    pub(crate) rows: u64,
}

/// What has become of the parts that were seen: partitions of blue, by id.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    /// Parts of these are gone.
    pub(crate) gone: BTreeSet<String>,
    /// Parts of these have fewer rows than those that they were made of.
    pub(crate) fewer: BTreeSet<String>,
}

impl SeenPart {
    fn covers(&self, other: &Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

impl PartsSeen {
    /// Takes further parts of a partition for seen, such as those that a log tells of; but for those whose rows
    /// a part has that was seen itself.
    pub(crate) fn add(&mut self, partition: String, parts: impl IntoIterator<Item = SeenPart>) {
        let seen = self.parts.entry(partition).or_default();
        seen.sort_unstable();
        let further = parts.into_iter().filter(|part| covering(seen, part).is_none());
        let further = further.collect::<Vec<_>>();
        seen.extend(further);
        seen.sort_unstable();
        seen.dedup();
    }

    /// Tells also of mutations that were done before, if they came after `before` was seen.
    pub(crate) fn telling_since(self, before: &Self) -> Self {
        let (mutations_since, mutations) = (before.mutations_since, before.mutations.clone());
        Self { mutations_since, mutations, ..self }
    }

    /// By partition, what has come since `before`: parts whose last block is a later one.
    pub(crate) fn newer_than(&self, before: Option<&Self>) -> BTreeMap<String, Newer> {
        let newer = self.parts.iter().filter_map(|(partition, parts)| {
            let before = before.and_then(|it| it.parts.get(partition));
            let last_before =
                before.into_iter().flatten().map(|part| part.last).max().unwrap_or(-1);
            let rows =
                parts.iter().filter(|part| part.last > last_before).map(|part| part.rows).sum();
            (rows > 0).then(|| (partition.clone(), Newer { last_before, rows }))
        });
        newer.collect()
    }

    /// Compares with how blue is `now`.
    pub(crate) fn fate(&self, now: &Self) -> Fate {
        let mut fate = Fate::default();
        for (partition, seen) in &self.parts {
            let mut now = now.parts.get(partition).cloned().unwrap_or_default();
            now.sort_unstable();
            // Of each part: the rows that it was made of, and whether some of them were deleted already.
            let mut made_of = vec![(0_u64, false); now.len()];
            for part in seen {
                match covering(&now, part).and_then(|at| made_of.get_mut(at)) {
                    Some((rows, has_deleted)) => {
                        *rows += part.rows;
                        *has_deleted |= part.has_deleted;
                    }
                    None => {
                        fate.gone.insert(partition.clone());
                    }
                }
            }
            let mut both = now.iter().zip(made_of);
            if both.any(|(part, (rows, has_deleted))| !has_deleted && part.rows < rows) {
                fate.fewer.insert(partition.clone());
            }
        }
        fate
    }
}

/// Which of these parts, in the order of their blocks, has all blocks of that one. No two of them have one in
/// common.
fn covering(parts: &[SeenPart], part: &SeenPart) -> Option<usize> {
    let before = parts.partition_point(|it| it.first <= part.first).checked_sub(1)?;
    parts.get(before)?.covers(part).then_some(before)
}

/// How long a mutation may have its time before anybody can see it: it is written to the disk in between (by the
/// source of newer releases).
const UNSEEN: u32 = 60;

/// The mutations of a table at one moment.
struct Mutations {
    now: u32,
    /// Those that were made in the time before it in which others may not be seen yet, and are done.
    done: BTreeSet<String>,
    running: Vec<String>,
}

impl Mutations {
    fn refuse_running(&self, table: &QualifiedName) -> Result<(), MigrateError> {
        match self.running.first() {
            None => Ok(()),
            Some(first) => Err(MigrateError::MutationsRunning {
                blue: table.clone(),
                mutations: self.running.len(),
                first: shortened(first),
            }),
        }
    }
}

impl Operator<'_> {
    /// The active parts of a table.
    pub(crate) fn see(&self, table: &QualifiedName) -> Result<PartsSeen, MigrateError> {
        // The time first: what happens in between is told twice, and not never. And what is done by then, is
        // done in the parts.
        Ok(self.with_control(|session| {
            let mutations = mutations_now(session, table)?;
            see_behind(session, mutations, table)
        })?)
    }

    /// As [`see`](Self::see), at a moment at which no mutation is under way: one that was made before it, and
    /// is done later, would be a sign of nothing.
    ///
    /// # Errors
    /// [`MigrateError::MutationsRunning`].
    pub(crate) fn see_at_rest(&self, table: &QualifiedName) -> Result<PartsSeen, MigrateError> {
        self.with_control(|session| see_at_rest(session, table))
    }

    /// # Errors
    /// [`MigrateError::MutationsRunning`].
    pub(crate) fn refuse_mutating(&self, table: &QualifiedName) -> Result<(), MigrateError> {
        self.with_control(|session| mutations_now(session, table))?.refuse_running(table)
    }
}

/// As [`Operator::see_at_rest`], by a session of its own.
///
/// # Errors
/// [`MigrateError::MutationsRunning`].
pub(crate) fn see_at_rest(
    session: &mut dyn Session,
    table: &QualifiedName,
) -> Result<PartsSeen, MigrateError> {
    let mutations = mutations_now(session, table)?;
    mutations.refuse_running(table)?;
    Ok(see_behind(session, mutations, table)?)
}

fn mutations_now(
    session: &mut dyn Session,
    table: &QualifiedName,
) -> Result<Mutations, ClientError> {
    #[derive(Deserialize)]
    struct Row {
        now: u32,
        done: Vec<String>,
        running: Vec<String>,
    }
    // `now()` is a constant before the first row is read.
    let Row { now, done, running } = session.row(&format!(
        "SELECT toUnixTimestamp(now()) AS now, \
             groupArrayIf(mutation_id, is_done AND toUnixTimestamp(create_time) + {UNSEEN} >= now) AS done, \
             groupArrayIf(command, NOT is_done) AS running \
         FROM system.mutations WHERE {}",
        table.condition("table")
    ))?;
    Ok(Mutations { now, done: BTreeSet::from_iter(done), running })
}

fn see_behind(
    session: &mut dyn Session,
    mutations: Mutations,
    table: &QualifiedName,
) -> Result<PartsSeen, ClientError> {
    #[derive(Deserialize)]
    struct Row {
        partition_id: String,
        first: i64,
        last: i64,
        rows: u64,
        has_deleted: u8,
        version: i64,
    }
    // Each expression of a statement costs it a tenth of a millisecond and more (26.7), and a fence waits for this one.
    let mut rows = session.rows::<Row>(&format!(
        "SELECT partition_id, min_block_number AS first, max_block_number AS last, rows, \
             has_lightweight_delete AS has_deleted, greatest(max_block_number, data_version) AS version \
         FROM system.parts WHERE active AND {}",
        table.condition("table")
    ))?;
    // Also of updates that no merge has applied yet.
    let version = rows.iter().map(|row| row.version).max();
    rows.retain(|row| row.rows > 0 && !row.partition_id.starts_with("patch-"));
    rows.sort_unstable_by_key(|row| row.first);
    let Mutations { now, done, .. } = mutations;
    let mut seen = PartsSeen {
        time: now,
        mutations_since: now.saturating_sub(UNSEEN),
        mutations: done,
        version: version.unwrap_or_default(),
        parts: BTreeMap::new(),
    };
    for row in rows {
        let part = SeenPart {
            first: row.first,
            last: row.last,
            rows: row.rows,
            has_deleted: row.has_deleted != 0,
        };
        seen.parts.entry(row.partition_id).or_default().push(part);
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(first: i64, last: i64, rows: u64) -> SeenPart {
        SeenPart { first, last, rows, has_deleted: false }
    }

    fn blue(parts: &[(&str, i64, i64, u64)]) -> PartsSeen {
        let mut seen = PartsSeen::default();
        for (partition, first, last, rows) in parts {
            seen.add((*partition).to_owned(), [part(*first, *last, *rows)]);
        }
        seen
    }

    fn fate(seen: &PartsSeen, now: &PartsSeen) -> (Vec<String>, Vec<String>) {
        let fate = seen.fate(now);
        (fate.gone.into_iter().collect(), fate.fewer.into_iter().collect())
    }

    #[test]
    fn a_later_look_tells_of_mutations_since_the_first_one() {
        let look = |since: u32, mutations: &[&str]| PartsSeen {
            time: 500,
            mutations_since: since,
            mutations: mutations.iter().map(|it| (*it).to_owned()).collect(),
            ..PartsSeen::default()
        };
        let first = look(100, &["1"]);
        assert_eq!(look(440, &["1", "2"]).telling_since(&first), first);
    }

    #[test]
    fn inserts_and_merges_leave_no_sign() {
        let seen = blue(&[("a", 1, 1, 10), ("a", 2, 2, 10), ("b", 3, 3, 5)]);
        let now = blue(&[("a", 1, 4, 25), ("b", 3, 3, 5), ("b", 5, 5, 9), ("c", 6, 6, 1)]);
        assert_eq!(fate(&seen, &now), (vec![], vec![]));
    }

    #[test]
    fn rows_of_a_part_that_the_log_tells_of_as_well_are_counted_once() {
        let mut seen = blue(&[("a", 1, 4, 40)]);
        seen.add("a".to_owned(), [part(5, 5, 10), part(3, 3, 10)]);
        assert_eq!(fate(&seen, &blue(&[("a", 1, 5, 50)])), (vec![], vec![]));
        assert_eq!(fate(&seen, &blue(&[("a", 1, 5, 49)])).1, ["a"]);
    }

    #[test]
    fn a_million_logged_parts_are_no_matter() {
        let mut seen = blue(&[("a", 1, 9, 9)]);
        seen.add("a".to_owned(), (1..=1_000_000).map(|block| part(block, block, 1)));
        let now = blue(&[("a", 1, 600_000, 600_000), ("a", 600_001, 999_999, 399_999)]);
        assert_eq!(fate(&seen, &now), (vec!["a".to_owned()], vec![]));
        let now = blue(&[("a", 1, 600_000, 599_999), ("a", 600_001, 1_000_000, 400_000)]);
        assert_eq!(fate(&seen, &now), (vec![], vec!["a".to_owned()]));
    }

    #[test]
    fn a_part_that_went_and_a_part_with_fewer_rows_are_told_by_their_partitions() {
        let seen = blue(&[("a", 1, 1, 10), ("a", 2, 2, 10), ("b", 3, 3, 5), ("c", 4, 4, 7)]);
        // Replaced: as many rows in other blocks.
        let now = blue(&[("a", 7, 7, 20), ("b", 3, 3, 4), ("b", 8, 8, 100), ("c", 4, 9, 8)]);
        assert_eq!(fate(&seen, &now), (vec!["a".to_owned()], vec!["b".to_owned()]));
        let empty = PartsSeen::default();
        assert_eq!(fate(&seen, &empty).0, ["a", "b", "c"]);
    }

    #[test]
    fn rows_that_were_deleted_before_are_not_lost_when_a_merge_drops_them() {
        let mut seen = serde_json::from_str::<SeenPart>("[1,1,10]").unwrap();
        assert_eq!(seen, part(1, 1, 10));
        assert_eq!(serde_json::to_string(&seen).unwrap(), "[1,1,10]");
        seen.has_deleted = true;
        let read = serde_json::from_str(&serde_json::to_string(&seen).unwrap()).unwrap();
        assert_eq!(seen, read);
        let mut before = PartsSeen::default();
        before.add("a".to_owned(), [seen]);
        assert_eq!(fate(&before, &blue(&[("a", 1, 1, 8)])), (vec![], vec![]));
        assert_eq!(fate(&before, &blue(&[("a", 2, 2, 10)])).0, ["a"]);
    }
}
