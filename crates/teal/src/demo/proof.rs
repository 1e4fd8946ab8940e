//! The proof: what must be there, made once more from what the writers know, against what is
//! there. It shares nothing with teal's own verification.

use serde::{Deserialize, Serialize};
use teal_client::{ClientError, Format, Session};
use teal_schema::QualifiedName;

use super::ledger::Batch;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Difference {
    /// Rows that are missing, and rows that are there too often, as multisets.
    pub(super) lost: u64,
    pub(super) duplicated: u64,
}

/// Where the rows that must be there are put together.
pub(super) fn expected() -> QualifiedName {
    QualifiedName::new("demo", "expected")
}

/// Keeps the rows of `table` as they are before the traffic.
pub(super) fn keep_base(
    session: &mut dyn Session,
    table: &QualifiedName,
) -> Result<(), ClientError> {
    let expected = expected();
    session.command("CREATE DATABASE IF NOT EXISTS demo")?;
    session.command(&format!("CREATE TABLE {} AS {}", expected.sql(), table.sql()))?;
    session.command(&format!(
        "ALTER TABLE {} ATTACH PARTITION ALL FROM {}",
        expected.sql(),
        table.sql()
    ))?;
    Ok(())
}

/// Adds the writers' rows.
pub(super) fn add_written(session: &mut dyn Session, batches: &[Batch]) -> Result<(), ClientError> {
    /// Rows of one INSERT.
    const AT_ONCE: usize = 1 << 24;
    let statement =
        format!("INSERT INTO {} (date, delay, distance, origin, destination)", expected().sql());
    let mut insert = session.insert(&statement, Format::TSV)?;
    let mut rows = Vec::new();
    for batch in batches {
        batch.write(&mut rows);
        if rows.len() > AT_ONCE {
            insert.send(&rows)?;
            rows.clear();
        }
    }
    if !rows.is_empty() {
        insert.send(&rows)?;
    }
    insert.finish().map(drop)
}

/// The difference of the two multisets of rows, in slices so that it fits into memory.
pub(super) fn difference(
    session: &mut dyn Session,
    actual: &QualifiedName,
) -> Result<Difference, ClientError> {
    const SLICES: u32 = 8;
    let mut all = Difference { lost: 0, duplicated: 0 };
    for slice in 0..SLICES {
        let side = |sign: i8, table: &QualifiedName| {
            format!(
                "SELECT toInt64({sign}) AS sign, date, delay, distance, origin, destination FROM {} \
                 WHERE cityHash64(date, distance) % {SLICES} = {slice}",
                table.sql()
            )
        };
        let part: Difference = session.row(&format!(
            "SELECT toUInt64(sumIf(-n, n < 0)) AS lost, toUInt64(sumIf(n, n > 0)) AS duplicated \
             FROM (SELECT sum(sign) AS n FROM ({} UNION ALL {}) \
                   GROUP BY date, delay, distance, origin, destination HAVING n != 0)",
            side(-1, &expected()),
            side(1, actual),
        ))?;
        all.lost += part.lost;
        all.duplicated += part.duplicated;
    }
    Ok(all)
}
