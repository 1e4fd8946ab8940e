use teal_catalog::Part;
use teal_schema::{quote_string, quoted_list};

/// Some rows of the snapshot: the unit of copying and of resuming. It ends within a partition, or holds
/// several that are small: each chunk costs some statements, however few its rows are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// The same for every process, since the snapshot's parts and the rows of a chunk are.
    pub(crate) number: u32,
    pub(crate) rows: u64,
    /// Before compression, by its share of the rows of its parts.
    pub(crate) bytes: u64,
    pub(crate) ranges: Vec<Range>,
}

/// Rows `from..to` of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    part: String,
    from: u64,
    to: u64,
    part_rows: u64,
}

/// Partitions of a chunk, at most: it writes a part for each.
const MOST_PARTITIONS: usize = 500;

/// Cuts parts, given in the order of their partitions, into chunks of `chunk_rows` rows, or of fewer where
/// these have more than `chunk_bytes` bytes; of one row at least.
pub(crate) fn cut(parts: &[Part], chunk_rows: u64, chunk_bytes: u64) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut open: Option<Chunk> = None;
    let mut partitions = 0;
    for of_partition in parts.chunk_by(|a, b| a.partition_id == b.partition_id) {
        let rows = of_partition.iter().map(|part| part.rows).sum::<u64>();
        let bytes = of_partition.iter().map(|part| part.uncompressed_bytes).sum::<u64>();
        let has_room = |chunk: &mut Chunk| {
            partitions < MOST_PARTITIONS
                && chunk.rows + rows <= chunk_rows
                && chunk.bytes.saturating_add(bytes) <= chunk_bytes
        };
        // A partition that is cut begins a chunk, so that no more parts are made of it than need be.
        if let Some(full) = open.take_if(|chunk| !has_room(chunk)) {
            chunks.push(full);
        }
        partitions = if open.is_some() { partitions + 1 } else { 1 };
        for part in of_partition {
            let row_bytes = (part.uncompressed_bytes / part.rows.max(1)).max(1);
            let mut from = 0;
            while from < part.rows {
                // Not one more row of such a width goes in.
                let is_full =
                    |chunk: &mut Chunk| chunk_bytes.saturating_sub(chunk.bytes) < row_bytes;
                chunks.extend(open.take_if(is_full));
                let chunk = open.get_or_insert_with(|| Chunk {
                    number: u32::try_from(chunks.len()).unwrap_or(u32::MAX),
                    rows: 0,
                    bytes: 0,
                    ranges: Vec::new(),
                });
                let fit = (chunk_bytes.saturating_sub(chunk.bytes) / row_bytes).max(1);
                let to = part.rows.min(from + fit.min(chunk_rows - chunk.rows));
                chunk.rows += to - from;
                chunk.bytes += share(part, to - from);
                match chunk.ranges.last_mut() {
                    // Rows of less than a byte each leave room for more.
                    Some(last) if last.part == part.name => last.to = to,
                    _ => {
                        let (part, part_rows) = (part.name.clone(), part.rows);
                        chunk.ranges.push(Range { part, from, to, part_rows });
                    }
                }
                from = to;
                if chunk.rows >= chunk_rows {
                    chunks.extend(open.take());
                }
            }
        }
    }
    chunks.extend(open);
    chunks
}

/// The bytes of so many rows of a part.
fn share(part: &Part, rows: u64) -> u64 {
    let bytes = u128::from(part.uncompressed_bytes) * u128::from(rows);
    u64::try_from(bytes / u128::from(part.rows.max(1))).unwrap_or(u64::MAX)
}

/// The condition on the snapshot that selects the rows of these chunks, given by their numbers. It prunes parts and
/// granules: a range of a part is not read from the part's beginning (seen on 26.7).
pub(crate) fn condition(chunks: &[Chunk]) -> String {
    let mut ranges: Vec<Range> = Vec::new();
    for range in chunks.iter().flat_map(|chunk| &chunk.ranges) {
        match ranges.last_mut() {
            Some(last) if last.part == range.part && last.to == range.from => last.to = range.to,
            _ => ranges.push(range.clone()),
        }
    }
    let (whole, pieces): (Vec<_>, Vec<_>) = ranges.iter().partition(|range| range.is_whole());
    let mut conditions = Vec::new();
    if !whole.is_empty() {
        let names = quoted_list(whole.iter().map(|range| &range.part));
        conditions.push(format!("_part IN ({names})"));
    }
    conditions.extend(pieces.iter().map(|range| {
        format!(
            "(_part = {} AND _part_offset >= {} AND _part_offset < {})",
            quote_string(&range.part),
            range.from,
            range.to
        )
    }));
    match conditions.is_empty() {
        true => "0".to_owned(),
        false => conditions.join(" OR "),
    }
}

impl Chunk {
    /// The parts of the snapshot that have rows of the chunk.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &str> {
        self.ranges.iter().map(|range| range.part.as_str())
    }
}

impl Range {
    fn is_whole(&self) -> bool {
        self.from == 0 && self.to == self.part_rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(partition: &str, name: &str, rows: u64) -> Part {
        Part {
            partition_id: partition.to_owned(),
            name: name.to_owned(),
            rows,
            uncompressed_bytes: rows * 16,
            level: 0,
            uuid: String::new(),
        }
    }

    fn rows(chunks: &[Chunk]) -> Vec<u64> {
        chunks.iter().map(|chunk| chunk.rows).collect()
    }

    #[test]
    fn every_row_is_in_one_chunk_and_a_partition_that_is_cut_begins_one() {
        let parts = [
            part("a", "a_1", 4),
            part("b", "b_1", 25),
            part("b", "b_2", 3),
            part("c", "c_1", 2),
            part("d", "d_1", 0),
            part("e", "e_1", 1),
        ];
        let chunks = cut(&parts, 10, u64::MAX);
        assert_eq!(rows(&chunks), [4, 10, 10, 10, 1]);
        assert_eq!(chunks.iter().map(|chunk| chunk.number).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        let bytes = chunks.iter().map(|chunk| chunk.bytes).collect::<Vec<_>>();
        assert_eq!(bytes, [64, 160, 160, 160, 16]);
        assert_eq!(
            condition(&chunks[3..4]),
            "_part IN ('b_2', 'c_1') OR (_part = 'b_1' AND _part_offset >= 20 AND _part_offset < 25)"
        );
        assert_eq!(chunks[4].parts().collect::<Vec<_>>(), ["e_1"]);
        assert_eq!(
            condition(&chunks[2..]),
            "_part IN ('b_2', 'c_1', 'e_1') OR (_part = 'b_1' AND _part_offset >= 10 AND _part_offset < 25)"
        );
        assert_eq!(condition(&[]), "0");
    }

    #[test]
    fn small_partitions_share_a_chunk_up_to_a_bound() {
        let parts = (0..1200).map(|i| part(&format!("{i:04}"), &format!("{i:04}_1"), 1));
        assert_eq!(rows(&cut(&parts.collect::<Vec<_>>(), 10_000, u64::MAX)), [500, 500, 200]);
    }

    #[test]
    fn rows_that_are_wider_than_others_make_smaller_chunks() {
        let wide = Part { uncompressed_bytes: 6 * 1000, ..part("a", "a_2", 6) };
        let wider = Part { uncompressed_bytes: 2 * 9000, ..part("b", "b_1", 2) };
        let parts = [part("a", "a_1", 20), wide, wider, part("b", "b_2", 5)];
        let chunks = cut(&parts, 100, 2400);
        // 20 narrow ones and 2 wide ones; 2 at a time; then each by itself, however wide.
        assert_eq!(rows(&chunks), [22, 2, 2, 1, 1, 5]);
        assert_eq!(rows(&cut(&parts, 100, u64::MAX)), [33]);
        let all = |chunks: &[Chunk]| chunks.iter().map(|chunk| chunk.bytes).sum::<u64>();
        assert_eq!(all(&chunks), parts.iter().map(|part| part.uncompressed_bytes).sum::<u64>());
    }

    #[test]
    fn a_chunk_has_a_part_once_however_narrow_its_rows_are() {
        let of = |name: &str, rows, uncompressed_bytes| Part {
            uncompressed_bytes,
            ..part("a", name, rows)
        };
        let chunks = cut(&[of("a_1", 20, 2000), of("a_2", 10, 5)], 100, 2005);
        assert_eq!(rows(&chunks), [30]);
        assert_eq!(chunks[0].parts().collect::<Vec<_>>(), ["a_1", "a_2"]);
    }

    #[test]
    fn an_empty_snapshot_has_no_chunk() {
        assert_eq!(cut(&[], 10, 100), []);
        assert_eq!(cut(&[part("a", "a_1", 0)], 10, 100), []);
    }
}
