use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use teal_client::{ClientError, Format, Session};
use teal_schema::quoted_list;

/// How the server reads a SELECT: its `EXPLAIN QUERY TREE`, boiled down to what a copy of the
/// SELECT needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryTree {
    /// The names and types of the result's columns.
    pub columns: Vec<(String, String)>,
    /// The tables read, as `database.table`.
    pub tables: Vec<String>,
    /// The columns read, each with its table as in `tables`.
    pub reads: BTreeSet<(String, String)>,
    /// Why one row of the result is not made of one row of the table, where that is so.
    pub not_row_wise: Option<String>,
    /// The SELECT groups rows, and does nothing else that is not row by row. Then this says of each
    /// column of the result what it is made by.
    pub grouped: Option<Vec<Grouped>>,
    /// The table whose INSERTs would fire a view of this SELECT: the first of its FROM.
    pub fired_by: Option<String>,
    /// Whether each result column is the table's column of the same name, with no condition.
    pub is_identity: bool,
    /// Functions whose result may differ from one call to the next.
    pub non_deterministic: Vec<String>,
}

/// What a column of a SELECT with GROUP BY is made by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grouped {
    /// What the rows are grouped by.
    Key,
    /// This aggregate function, and nothing around it.
    Aggregate(String),
    /// More than one aggregate function, or one with something around it.
    More,
}

#[derive(Debug, thiserror::Error)]
pub enum QueryTreeError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot read the server's EXPLAIN QUERY TREE of: {select}")]
    Unreadable { select: String },
}

impl QueryTree {
    /// # Errors
    /// The server's error when the SELECT does not work, such as an unknown column.
    pub fn explain(session: &mut dyn Session, select: &str) -> Result<Self, QueryTreeError> {
        // `run_passes = 1` resolves names and `*`; the passes that fold or reorder come later but
        // keep what is asked here. Before 24.3, and under a profile, the analyzer is off; the SELECT may have settings
        // of its own, so that this one stands behind a FORMAT.
        let answer = session.run(
            &format!(
                "EXPLAIN QUERY TREE run_passes = 1, dump_ast = 0 {select}\n\
                 FORMAT TabSeparatedRaw SETTINGS allow_experimental_analyzer = 1"
            ),
            Format("TabSeparatedRaw".into()),
        )?;
        let text = String::from_utf8_lossy(&answer.body);
        let columns = describe(session, select)?;
        let mut tree = Self::parse(&text, columns)
            .ok_or_else(|| QueryTreeError::Unreadable { select: select.to_owned() })?;
        let functions = functions(&text);
        if !functions.is_empty() {
            tree.non_deterministic = non_deterministic(session, &functions)?;
        }
        Ok(tree)
    }

    fn parse(text: &str, columns: Vec<(String, String)>) -> Option<Self> {
        let nodes = nodes(text);
        let mut tree = Self {
            columns,
            tables: Vec::new(),
            fired_by: first_table(&nodes),
            reads: BTreeSet::new(),
            not_row_wise: None,
            grouped: None,
            is_identity: true,
            non_deterministic: Vec::new(),
        };
        if !nodes.first()?.1.starts_with("QUERY ") {
            tree.not_row_wise = Some("it is a UNION".to_owned());
        }
        let mut projected = Vec::new();
        let mut tables = BTreeMap::new();
        let mut read = Vec::new();
        let mut grouping = Grouping::default();
        for (indent, node) in nodes {
            let folds = grouping.takes(indent, node);
            // The items of the outermost projection.
            if indent == 6 && node.starts_with("COLUMN ") {
                projected.push(field(node, "column_name")?.to_owned());
            }
            if node.starts_with("TABLE ")
                && let Some(table) = field(node, "table_name")
            {
                tree.tables.push(table.to_owned());
                tables.insert(field(node, "id"), table);
            }
            if node.starts_with("COLUMN ") {
                read.push((field(node, "source_id"), field(node, "column_name")?));
            }
            tree.is_identity &= is_plain(node);
            if tree.not_row_wise.is_none() && !folds {
                tree.not_row_wise = not_row_wise(node);
            }
        }
        let of_tables = read.into_iter().filter_map(|(source, column)| {
            Some((tables.get(&source)?.to_string(), column.to_owned()))
        });
        tree.reads = of_tables.collect();
        if tree.not_row_wise.is_none() {
            (tree.not_row_wise, tree.grouped) = grouping.end();
        }
        tree.is_identity &=
            tree.columns.iter().map(|(name, _)| name).eq(projected.iter()) && !projected.is_empty();
        Some(tree)
    }
}

/// What the tree says of the grouping of the outermost SELECT.
#[derive(Debug, Default)]
struct Grouping {
    /// The part of the outermost SELECT that the node is in.
    section: String,
    has_group_by: bool,
    columns: Vec<Grouped>,
    first: Option<String>,
}

impl Grouping {
    /// Takes a node in, and tells whether it is about the grouping alone.
    fn takes(&mut self, indent: usize, node: &str) -> bool {
        if indent == 2 {
            node.clone_into(&mut self.section);
            self.has_group_by |= node == "GROUP BY";
        }
        let is_aggregate =
            node.starts_with("FUNCTION ") && field(node, "function_type") == Some("aggregate");
        let is_projected = self.section == "PROJECTION";
        let name = || field(node, "function_name").unwrap_or("?").to_owned();
        if is_projected && indent == 6 {
            self.columns.push(match is_aggregate {
                true => Grouped::Aggregate(name()),
                false => Grouped::Key,
            });
        } else if is_projected
            && is_aggregate
            && let Some(column) = self.columns.last_mut()
        {
            *column = Grouped::More;
        }
        if is_aggregate && self.first.is_none() {
            self.first = Some(name());
        }
        (is_aggregate && is_projected) || (indent == 2 && node == "GROUP BY")
    }

    /// Why the SELECT is not row-wise because of it, and what its columns are made by.
    fn end(self) -> (Option<String>, Option<Vec<Grouped>>) {
        match (self.has_group_by, self.first) {
            (true, _) => (Some("it has GROUP BY".to_owned()), Some(self.columns)),
            (false, Some(first)) => (Some(format!("it uses the aggregate function {first}")), None),
            (false, None) => (None, None),
        }
    }
}

/// The names and types of a SELECT's result.
fn describe(session: &mut dyn Session, select: &str) -> Result<Vec<(String, String)>, ClientError> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
        #[serde(rename = "type")]
        data_type: String,
    }
    let rows = session.rows::<Row>(&format!("DESCRIBE TABLE ({select})"))?;
    Ok(rows.into_iter().map(|row| (row.name, on_one_line(&row.data_type))).collect())
}

/// A type as `system.columns` has it. `DESCRIBE` breaks one with named elements into lines (26.7).
fn on_one_line(data_type: &str) -> String {
    data_type.lines().map(str::trim_start).fold(String::new(), |before, line| {
        let space = if before.ends_with(',') { " " } else { "" };
        before + space + line
    })
}

/// The tree's nodes with their indents, without the lists of column names, in which anything may
/// stand.
fn nodes(text: &str) -> Vec<(usize, &str)> {
    let mut names_below = None;
    let mut nodes = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let indent = line.len() - line.trim_start().len();
        if names_below.is_some_and(|names_below| indent > names_below) {
            continue;
        }
        names_below = (line.trim() == "PROJECTION COLUMNS").then_some(indent);
        if names_below.is_none() {
            nodes.push((indent, line.trim()));
        }
    }
    nodes
}

/// The first table of the outermost FROM, through subqueries and joins.
fn first_table(nodes: &[(usize, &str)]) -> Option<String> {
    let tree_of = |query: usize, from: usize| {
        let is_it = |node: &(usize, &str)| *node == (query + 2, "JOIN TREE");
        nodes.get(from..)?.iter().position(is_it).map(|at| from + at + 1)
    };
    let mut at = tree_of(0, 0)?;
    loop {
        let (indent, node) = nodes.get(at)?;
        if node.starts_with("TABLE id") {
            return field(node, "table_name").map(str::to_owned);
        }
        at = match node.starts_with("QUERY ") {
            true => tree_of(*indent, at)?,
            false => at + 1,
        };
    }
}

/// The value of `name: value` in a node's line.
fn field<'l>(node: &'l str, name: &str) -> Option<&'l str> {
    // The name of a column stands as it is, whatever is in it, and is followed by its type and its table (26.7).
    match name {
        "column_name" => {
            let (_, rest) = node.split_once("column_name: ")?;
            return Some(rest.rsplit_once(", result_type: ").map_or(rest, |(name, _)| name));
        }
        "source_id" => return Some(node.rsplit_once("source_id: ")?.1),
        // So does that of a table, behind which only FINAL and SAMPLE come.
        "table_name" => {
            let (_, rest) = node.split_once("table_name: ")?;
            let ends = [", final: ", ", sample_size: "].into_iter().filter_map(|it| rest.find(it));
            return rest.get(..ends.min().unwrap_or(rest.len()));
        }
        _ => (),
    }
    let start = node.find(&format!("{name}: "))? + name.len() + 2;
    let rest = node.get(start..)?;
    Some(rest.split_once(", ").map_or(rest, |(value, _)| value))
}

/// Whether the node may stand in `SELECT columns FROM table`.
fn is_plain(node: &str) -> bool {
    let is_subquery = node.contains("is_subquery: 1");
    ["PROJECTION", "LIST ", "COLUMN ", "JOIN TREE", "TABLE "]
        .iter()
        .any(|kind| node.starts_with(kind))
        || (node.starts_with("QUERY ") && !is_subquery)
}

/// Why a SELECT with this node does not work row by row; `None` for the nodes known to.
fn not_row_wise(node: &str) -> Option<String> {
    const ROW_WISE: &[&str] = &[
        "PROJECTION",
        "JOIN TREE",
        "WHERE",
        "PREWHERE",
        "ARGUMENTS",
        "EXPRESSION",
        "TABLE EXPRESSION",
        "JOIN EXPRESSIONS",
    ];
    const ROW_WISE_NODES: &[&str] =
        &["LIST ", "COLUMN ", "CONSTANT ", "TABLE ", "ARRAY_JOIN ", "LAMBDA ", "EXPRESSION "];
    /// By what block of rows a row comes in. `system.functions` did not say so of all of them in older releases.
    const BY_BLOCK: &[&str] =
        &["lowCardinalityIndices", "lowCardinalityKeys", "runningConcurrency"];
    let said = |reason: &str| Some(reason.to_owned());
    if node.starts_with("FUNCTION ") {
        let name = field(node, "function_name").unwrap_or("?");
        // What a scalar subquery reads is not in the tree where it gives an array, say (26.9).
        if name == "__getScalar" {
            return said("it has a scalar subquery");
        }
        if BY_BLOCK.contains(&name) {
            return Some(format!("it uses {name}, which goes by the block that a row comes in"));
        }
        return match field(node, "function_type") {
            Some("ordinary") => None,
            Some(other) => Some(format!("it uses the {other} function {name}")),
            None => said("it uses a function of unknown kind"),
        };
    }
    if node.starts_with("QUERY ") {
        return match node {
            _ if node.contains("is_distinct: 1") => said("it has DISTINCT"),
            _ if node.contains("is_group_by_") || node.contains("group_by_type") => {
                said("it has GROUP BY with modifiers")
            }
            _ => None,
        };
    }
    if node.starts_with("TABLE ") && (node.contains("final: 1") || node.contains("sample_size")) {
        return said("it reads the table with FINAL or SAMPLE");
    }
    if node.starts_with("JOIN ") && node != "JOIN TREE" && node != "JOIN EXPRESSIONS" {
        return said("it has a JOIN");
    }
    let known =
        ROW_WISE.contains(&node) || ROW_WISE_NODES.iter().any(|kind| node.starts_with(kind));
    match known {
        true => None,
        false => {
            Some(format!("it has {}", node.split(" id:").next().unwrap_or(node).replace('_', " ")))
        }
    }
}

fn functions(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| line.trim_start().starts_with("FUNCTION "))
        // Of these, `system.functions` does not say it.
        .filter(|line| field(line, "function_type") != Some("aggregate"))
        .filter_map(|line| field(line, "function_name"))
        .map(str::to_owned)
        .collect()
}

fn non_deterministic(
    session: &mut dyn Session,
    functions: &BTreeSet<String>,
) -> Result<Vec<String>, ClientError> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
        /// NULL for those that read dictionaries of regions, other rows or the network. Older
        /// releases have another name for the column.
        #[serde(alias = "is_deterministic")]
        deterministic: Option<u8>,
    }
    let names = quoted_list(functions);
    let rows = session.rows::<Row>(&format!(
        "SELECT * FROM system.functions WHERE name IN ({names}) ORDER BY name"
    ))?;
    let differs = rows.into_iter().filter(|row| row.deterministic != Some(1));
    Ok(differs.map(|row| row.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_the_same_on_one_line_as_on_many() {
        for data_type in
            ["UInt8", "Tuple(a UInt8, b Nullable(String))", "Enum8('a b' = 1, 'c' = 2)"]
        {
            assert_eq!(on_one_line(data_type), data_type);
        }
        let pretty =
            "Tuple(\n    a UInt8,\n    b Array(Tuple(\n        c String,\n        d UInt8)))";
        assert_eq!(on_one_line(pretty), "Tuple(a UInt8, b Array(Tuple(c String, d UInt8)))");
    }

    const IDENTITY: &str = "QUERY id: 0
  PROJECTION COLUMNS
    a UInt32
    b Nullable(String)
  PROJECTION
    LIST id: 1, nodes: 2
      COLUMN id: 2, column_name: a, result_type: UInt32, source_id: 3
      COLUMN id: 4, column_name: b, result_type: Nullable(String), source_id: 3
  JOIN TREE
    TABLE id: 3, alias: __table1, table_name: default.t
";

    fn parse(text: &str) -> QueryTree {
        let column = |name: &str, data_type: &str| (name.to_owned(), data_type.to_owned());
        let columns = vec![column("a", "UInt32"), column("b", "Nullable(String)")];
        QueryTree::parse(text, columns).unwrap()
    }

    #[test]
    fn plain_columns_are_an_identity() {
        let tree = parse(IDENTITY);
        assert!(tree.is_identity, "{tree:?}");
        assert_eq!(tree.not_row_wise, None);
        assert_eq!(tree.tables, ["default.t"]);
    }

    #[test]
    fn a_column_of_any_name_is_an_identity() {
        for name in ["b, c", "source_id: 7, result_type: d", "alias: e, x"] {
            let text = IDENTITY.replace("column_name: b", &format!("column_name: {name}"));
            let columns = [("a", "UInt32"), (name, "Nullable(String)")];
            let columns = columns.map(|(name, of)| (name.to_owned(), of.to_owned()));
            let tree = QueryTree::parse(&text, columns.to_vec()).unwrap();
            assert!(tree.is_identity, "{tree:?}");
            assert!(tree.reads.contains(&("default.t".to_owned(), name.to_owned())), "{tree:?}");
        }
    }

    #[test]
    fn a_table_may_have_any_name() {
        for behind in ["", ", final: 1", ", final: 0, sample_size: 1 / 10, sample_offset: 1 / 2"] {
            let text = IDENTITY.replace("default.t", &format!("default.a, b{behind}"));
            assert_eq!(parse(&text).tables, ["default.a, b"]);
        }
    }

    #[test]
    fn a_renamed_column_is_no_identity() {
        assert!(!parse(&IDENTITY.replace("column_name: b", "column_name: c")).is_identity);
    }

    #[test]
    fn a_condition_is_row_wise_but_no_identity() {
        let tree = parse(&format!(
            "{IDENTITY}  WHERE\n    FUNCTION id: 7, function_name: greater, function_type: ordinary, result_type: UInt8\n"
        ));
        assert!(!tree.is_identity);
        assert_eq!(tree.not_row_wise, None);
    }

    #[test]
    fn the_columns_of_a_grouped_select_are_told_apart() {
        let tree = parse(
            "QUERY id: 0
  PROJECTION COLUMNS
    k UInt8
    n Int64
    t UInt64
  PROJECTION
    LIST id: 1, nodes: 3
      COLUMN id: 2, column_name: k, result_type: UInt8, source_id: 3
      FUNCTION id: 4, function_name: sum, function_type: aggregate, result_type: Int64
        ARGUMENTS
          LIST id: 5, nodes: 1
            COLUMN id: 6, column_name: n, result_type: Int32, source_id: 3
      FUNCTION id: 7, function_name: toUInt64, function_type: ordinary, result_type: UInt64
        ARGUMENTS
          LIST id: 8, nodes: 1
            FUNCTION id: 9, function_name: sum, function_type: aggregate, result_type: Int64
  JOIN TREE
    TABLE id: 3, alias: __table1, table_name: d.z
  GROUP BY
    LIST id: 24, nodes: 1
      COLUMN id: 2, column_name: k, result_type: UInt8, source_id: 3
",
        );
        let sum = Grouped::Aggregate("sum".to_owned());
        assert_eq!(tree.grouped, Some(vec![Grouped::Key, sum, Grouped::More]));
        assert_eq!(tree.not_row_wise.as_deref(), Some("it has GROUP BY"));
    }

    #[test]
    fn what_folds_or_joins_rows_is_named() {
        for (more, reason) in [
            ("  GROUP BY\n    LIST id: 5, nodes: 1\n", "GROUP BY"),
            ("  LIMIT\n    CONSTANT id: 5, constant_value: UInt64_3\n", "LIMIT"),
            ("    JOIN id: 6, strictness: ALL, kind: INNER\n", "JOIN"),
            (
                "      FUNCTION id: 4, function_name: count, function_type: aggregate, result_type: UInt64\n",
                "aggregate function count",
            ),
            (
                "      FUNCTION id: 4, function_name: __getScalar, function_type: ordinary, result_type: Array(UInt64)\n",
                "scalar subquery",
            ),
            (
                "      FUNCTION id: 4, function_name: runningConcurrency, function_type: ordinary, result_type: UInt32\n",
                "by the block",
            ),
        ] {
            let tree = parse(&format!("{IDENTITY}{more}"));
            assert_eq!(tree.grouped.is_some(), reason == "GROUP BY");
            let said = tree.not_row_wise.unwrap_or_default();
            assert!(said.contains(reason), "{more:?} gave {said:?}");
        }
        let having = format!("{IDENTITY}  GROUP BY\n    LIST id: 5, nodes: 0\n  HAVING\n");
        assert_eq!(parse(&having).grouped, None);
        let rollup = format!("{IDENTITY}  GROUP BY\n")
            .replace("QUERY id: 0", "QUERY id: 0, group_by_type: rollup");
        assert_eq!(parse(&rollup).grouped, None);
        let distinct = IDENTITY.replace("QUERY id: 0", "QUERY id: 0, is_distinct: 1");
        assert_eq!(parse(&distinct).not_row_wise.as_deref(), Some("it has DISTINCT"));
    }
}
