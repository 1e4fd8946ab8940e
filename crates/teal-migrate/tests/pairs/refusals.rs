//! Which changes teal may refuse, and why.

use std::collections::BTreeSet;

use teal_plan::Plan;
use teal_schema::{Column, DefaultKind, QualifiedName, Table, create_table};

use crate::generator::Declared;

const DEPENDS_ON_ORDER: &str = "depends on the order of their insertion";
/// Of a column by which rows are folded.
const NOT_FILLED: &str = "which its SELECT does not fill";
const FOLDS_OTHERWISE: &str = "folds rows at any time";
/// Of a column that `mv` reads.
const TAKES_AWAY: &str = "which the plan takes away";
const LOSES_VALUES: &str = "would not be the same";
/// Of parts that do not store a column.
const READ_OTHERWISE: &str = "its default is what they are read by";

/// What the plan says stands in its way, each by the reason that `before` and `after` give for it.
pub(crate) fn assert_expected(
    plan: &Plan,
    from: &Declared,
    to: &Declared,
    kept: &[(Column, Column)],
) {
    let (before, after) = (&from.table, &to.table);
    let mut reasons = Vec::new();
    if depends_on_order(after) {
        reasons.push(DEPENDS_ON_ORDER);
    }
    if leaves_out(after, kept) {
        reasons.push(NOT_FILLED);
    }
    if before.engine.folds_rows() && !folds_alike(before, after, kept) {
        reasons.push(FOLDS_OTHERWISE);
    }
    if kept.iter().any(|(old, new)| old.data_type != new.data_type) {
        reasons.push(LOSES_VALUES);
    }
    if changes_default(before, after) {
        reasons.push(READ_OTHERWISE);
    }
    if to.forwards_what_comes_for_what_goes(from) {
        reasons.push(TAKES_AWAY);
    }
    let conflicts = plan.conflicts.iter().map(|conflict| conflict.differences.join("\n"));
    let findings = plan.findings.iter().filter(|finding| finding.blocks);
    for said in conflicts.chain(findings.map(|finding| finding.says.clone())) {
        assert!(
            reasons.iter().any(|reason| said.contains(reason)),
            "{said}\nexpected: {reasons:?}\n{}",
            change(before, after)
        );
    }
}

/// Whether the plan says that a value does not fit its new type.
pub(crate) fn is_for_values(plan: &Plan) -> bool {
    plan.findings.iter().any(|finding| finding.blocks && finding.says.contains(LOSES_VALUES))
}

/// Whether what the engine makes of rows may depend on the order in which they come.
fn depends_on_order(table: &Table) -> bool {
    let is_key =
        |column: &Column| table.order_by.iter().any(|item| item.trim_matches('`') == column.name);
    let is_any = |is_merged: fn(&Column) -> bool| {
        table.order_by.iter().any(|item| item.contains('('))
            || table.columns.iter().any(|column| !is_key(column) && !is_merged(column))
    };
    match (table.engine.name.as_str(), table.engine.arguments.as_slice()) {
        ("ReplacingMergeTree", []) | ("CollapsingMergeTree", _) => true,
        ("AggregatingMergeTree", _) => is_any(is_merged),
        ("SummingMergeTree", _) => is_any(is_added_up),
        _ => false,
    }
}

/// Whether a column that was there gets another default.
fn changes_default(before: &Table, after: &Table) -> bool {
    after.columns.iter().any(|new| {
        let was = new.renamed_from.as_ref().unwrap_or(&new.name);
        let old = before.columns.iter().find(|old| [&new.name, was].contains(&&old.name));
        old.is_some_and(|old| old.default != new.default)
    })
}

/// Whether the engine merges a column that the copy does not fill.
fn leaves_out(after: &Table, kept: &[(Column, Column)]) -> bool {
    let is_kept = |column: &Column| kept.iter().any(|(_, new)| new.name == column.name);
    matches!(after.engine.name.as_str(), "SummingMergeTree" | "AggregatingMergeTree")
        && !after.columns.iter().filter(|column| !is_alias(column)).all(is_kept)
}

/// Whether rows that were folded before the change are as those that are folded after it.
fn folds_alike(before: &Table, after: &Table, kept: &[(Column, Column)]) -> bool {
    let key = |table: &Table| table.order_by.iter().cloned().collect::<BTreeSet<_>>();
    let is_same =
        |(old, new): &(Column, Column)| (&old.name, &old.data_type) == (&new.name, &new.data_type);
    before.engine == after.engine
        && key(before) == key(after)
        && !depends_on_order(before)
        && kept.len() == before.columns.len()
        && kept.len() == after.columns.len()
        && kept.iter().all(is_same)
}

/// Whether a `SummingMergeTree` adds the column's values up.
pub(crate) fn is_added_up(column: &Column) -> bool {
    let bare = column.data_type.strip_prefix("Nullable(").unwrap_or(&column.data_type);
    let is_number = ["UInt", "Int", "Decimal"].iter().any(|kind| bare.starts_with(kind));
    is_number || is_merged(column)
}

/// Whether an `AggregatingMergeTree` merges the column's values, or there is nothing to merge.
pub(crate) fn is_merged(column: &Column) -> bool {
    column.data_type.starts_with("SimpleAggregateFunction") || is_alias(column)
}

fn is_alias(column: &Column) -> bool {
    column.default.as_ref().is_some_and(|default| default.kind == DefaultKind::Alias)
}

/// What is to become what, for a person.
pub(crate) fn change(before: &Table, after: &Table) -> String {
    let sql = |table: &Table| create_table(table, &QualifiedName::new("pair", &table.name), &[]);
    let renamed = after.columns.iter().filter_map(|column| {
        Some(format!("{} was {}", column.name, column.renamed_from.as_ref()?))
    });
    format!("{}\n→ {}\n{:?}", sql(before), sql(after), renamed.collect::<Vec<_>>())
}
