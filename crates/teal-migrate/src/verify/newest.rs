//! Where rows are folded by version: which rows one side has that the other lacks.
//!
//! Of each key the newest row counts, also one that says that it is deleted. A row that is older than what the other
//! side has is none that it lacks; so it is of no matter how far the merges of either side have come, and which of
//! the rows that go by it are copied twice.
//!
//! Where the newest rows of a key have the same version on both sides, the engine shows the one that came last. What
//! green shows then, and blue does not know, somebody has written there: blue lacks it. The other way round it is
//! not taken for lacking, for copied to green it would hide what readers see there.

use teal_plan::{CopyColumn, Fold};

use super::folded::{Ties, listed, values, versions};
use super::surplus::both;

/// One side of a comparison.
#[derive(Debug, Clone)]
struct Side {
    /// Its rows, not folded, with their versions.
    rows: String,
    /// What a reader sees of it.
    shown: String,
}

#[derive(Debug, Clone)]
pub(super) struct Newest {
    columns: Vec<CopyColumn>,
    blue: Side,
    green: Side,
    ties: Ties,
}

/// Rows that `from` has and `against` lacks.
#[derive(Debug, Clone)]
pub(super) struct Newer {
    columns: Vec<CopyColumn>,
    from: Side,
    against: Side,
    /// Those of the same version count too, but for these.
    ties: Option<Ties>,
    /// The same against an earlier clone, by which a row of the same version must count as well: one that somebody has
    /// written over in `against` since is no row that it lacks.
    earlier: Option<Box<Newer>>,
}

impl Newest {
    /// `blue` and `green` are SELECTs of the copied columns, each with what a reader sees of it.
    pub(super) fn of(
        fold: &Fold,
        columns: &[CopyColumn],
        blue: (&str, &str),
        green: (&str, &str),
        ties: &Ties,
    ) -> Self {
        let side = |(rows, shown): (&str, &str)| Side {
            rows: versions(fold, columns, rows),
            shown: shown.to_owned(),
        };
        let (blue, green) = (side(blue), side(green));
        Self { columns: columns.to_vec(), blue, green, ties: ties.clone() }
    }

    /// Blue's rows and green's, not folded, by their columns' names.
    pub(super) fn rows(&self) -> (String, String) {
        let named = values(&self.columns, |number, _| format!("_teal_{number}"));
        let rows =
            |side: &Side| format!("SELECT {named}, _teal_key, _teal_version FROM ({})", side.rows);
        (rows(&self.blue), rows(&self.green))
    }

    pub(super) fn of_blue_alone(&self) -> Newer {
        let (from, against) = (self.blue.clone(), self.green.clone());
        Newer { columns: self.columns.clone(), from, against, ties: None, earlier: None }
    }

    /// `earlier`: the same with an earlier clone of blue.
    pub(super) fn of_green_alone(&self, earlier: Option<&Self>) -> Newer {
        let (from, against) = (self.green.clone(), self.blue.clone());
        let (columns, ties) = (self.columns.clone(), Some(self.ties.clone()));
        let earlier = earlier.map(|it| Box::new(it.of_green_alone(None)));
        Newer { columns, from, against, ties, earlier }
    }
}

impl Newer {
    /// The same, where what blue has in `more` is not lacking. Of rows of the same version it says nothing.
    pub(super) fn without(self, more: &Newest) -> Self {
        let against = Side { rows: both(&self.against.rows, &more.blue.rows), ..self.against };
        Self { against, ties: None, earlier: None, ..self }
    }

    /// All rows of the side that these are of, with their keys.
    pub(super) fn all(&self) -> &str {
        &self.from.rows
    }

    /// The rows within a condition, as a SELECT of the copied columns. The keys first: values of many columns are
    /// held for those that are asked for only.
    pub(super) fn rows(&self, within: &str) -> String {
        let Side { rows, shown } = &self.from;
        let newest = values(&self.columns, |number, _| {
            format!("tupleElement(argMax(tuple(_teal_{number}), _teal_order), 1)")
        });
        let of = |keys: &str, also: &str| {
            format!(
                "SELECT {newest} FROM (SELECT * FROM ({rows}) {within}) \
                 WHERE _teal_key IN ({keys}){also} GROUP BY _teal_key"
            )
        };
        let newer = of(&self.keys(within, ""), "");
        let Some(tied) = self.tied(within) else { return newer };
        let hidden = format!(
            " AND _teal_deleted = 1 AND _teal_key NOT IN (SELECT _teal_key FROM ({shown}) {within})"
        );
        format!(
            "{newer} UNION ALL SELECT {} FROM (SELECT * FROM ({shown}) {within}) WHERE _teal_key IN ({tied}) \
             UNION ALL {}",
            listed(&self.columns),
            of(&tied, &hidden)
        )
    }

    /// The keys of all of them.
    pub(super) fn all_keys(&self, within: &str) -> String {
        let newer = self.keys(within, "");
        match self.tied(within) {
            Some(tied) => format!("{newer} UNION ALL {tied}"),
            None => newer,
        }
    }

    /// How many rows those are, but for those that say of a key which `against` has not that it is deleted: a table
    /// may forget these in its merges.
    pub(super) fn count(&self, within: &str) -> String {
        let but_for = " AND NOT (max(_teal_there) = 0 AND argMax(_teal_deleted, _teal_order) = 1)";
        let newer = self.keys(within, but_for);
        let tied = self.tied(within).map(|keys| format!(" UNION ALL {keys}")).unwrap_or_default();
        format!("SELECT count() AS rows FROM ({newer}{tied})")
    }

    /// The keys whose newest row is newer than the other side's.
    fn keys(&self, within: &str, but_for: &str) -> String {
        format!(
            "SELECT _teal_key FROM ({}) GROUP BY _teal_key \
             HAVING max(_teal_here) = 1 AND (max(_teal_there) = 0 \
                 OR maxIf(_teal_version, _teal_here) > maxIf(_teal_version, _teal_there)){but_for}",
            self.both(within)
        )
    }

    /// The keys whose newest rows have the same version on both sides, and of which the two show other rows.
    fn tied(&self, within: &str) -> Option<String> {
        let ties = self.ties.as_ref()?.keys(within.trim_start_matches("WHERE "));
        let shown = |side: &str| format!("SELECT _teal_key, _teal_hash FROM ({side}) {within}");
        let earlier = self.earlier.as_ref().and_then(|earlier| earlier.tied(within));
        let also = earlier.map(|keys| format!("AND _teal_key IN ({keys}) ")).unwrap_or_default();
        Some(format!(
            "SELECT _teal_key FROM ({both}) WHERE _teal_key NOT IN ({ties}) AND _teal_key IN (\
                 SELECT _teal_key FROM ({here} UNION ALL {there}) GROUP BY _teal_key \
                 HAVING count() = 1 OR min(_teal_hash) != max(_teal_hash)) {also}\
             GROUP BY _teal_key \
             HAVING max(_teal_here) = 1 AND max(_teal_there) = 1 \
                 AND maxIf(_teal_version, _teal_here) = maxIf(_teal_version, _teal_there)",
            both = self.both(within),
            here = shown(&self.from.shown),
            there = shown(&self.against.shown),
        ))
    }

    /// The rows of both sides, as far as it is asked for them.
    fn both(&self, within: &str) -> String {
        let rows = |is_from: u8, side: &Side| {
            format!(
                "SELECT _teal_key, _teal_version, _teal_order, _teal_deleted, \
                     {is_from} AS _teal_here, {} AS _teal_there FROM ({}) {within}",
                1 - is_from,
                side.rows
            )
        };
        format!("{} UNION ALL {}", rows(1, &self.from), rows(0, &self.against))
    }
}
