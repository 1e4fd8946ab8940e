//! What a user's profile says about every statement can make an answer of fewer rows than there are, and no
//! error. teal counts, compares and copies; its own sessions set such settings back to what they mean by default.
//!
//! Only those that the profile changes: a setting may be forbidden to be set, and a release may not have it.

use serde::Deserialize;

use crate::{ClientError, Session};

/// Settings by which rows are left out, come back, or are those of a moment ago or of another server, by which a
/// SELECT without a condition is refused, an answer is written otherwise, or a CREATE means something else; and the
/// value by which not. What a SELECT of the user means is not among them: the view's and the copy's are to agree.
///
/// Seen on 26.7: under `timeout_overflow_mode = 'break'` an aggregation that runs too long gives no row, and an
/// `INSERT … SELECT` writes none, both without an error.
const NEUTRAL: [(&str, &str); 27] = [
    ("additional_result_filter", ""),
    ("additional_table_filters", "{}"),
    // The sum of no rows is NULL then (26.7), where a number is read. (A SELECT of the user's that adds up no rows gives
    // 0 in the copy then, and NULL by the view: the proof shows it.)
    ("aggregate_functions_null_for_empty", "0"),
    ("allow_experimental_parallel_reading_from_replicas", "0"),
    ("apply_deleted_mask", "1"),
    ("apply_mutations_on_fly", "0"),
    ("apply_patch_parts", "1"),
    // The lock is a table of which only one of two can be created.
    ("create_if_not_exists", "0"),
    // The keys of teal's own tables cannot be NULL, and a model says what may be.
    ("data_type_default_nullable", "0"),
    ("database_atomic_wait_for_drop_and_detach_synchronously", "0"),
    // Where it is forced, `insert_deduplicate = 0` does not help (26.7).
    ("deduplicate_insert_select", "disable"),
    ("describe_include_subcolumns", "0"),
    ("describe_include_virtual_columns", "0"),
    ("empty_result_for_aggregation_by_empty_set", "0"),
    ("enable_parallel_replicas", "0"),
    ("extremes", "0"),
    ("final", "0"),
    // teal's own tables have no keys by which they are always read.
    ("force_index_by_date", "0"),
    ("force_primary_key", "0"),
    // A JOIN in the SELECT of a migration is refused.
    ("join_default_strictness", "ALL"),
    ("limit", "0"),
    ("offset", "0"),
    ("output_format_json_array_of_rows", "0"),
    // In definitions.
    ("show_create_query_identifier_quoting_rule", "when_necessary"),
    ("show_create_query_identifier_quoting_style", "Backticks"),
    ("show_table_uuid_in_table_create_query_if_not_nil", "0"),
    ("use_query_cache", "0"),
];

/// In the name of every setting that says what becomes of a statement beyond a limit. The limits themselves stay:
/// who runs into one is told.
const OVERFLOW_MODE: &str = "overflow_mode";

/// The settings that a session of teal's has to set back, as this session of the same user shows them.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) fn settings_to_set_back(
    session: &mut dyn Session,
) -> Result<Vec<(String, String)>, ClientError> {
    #[derive(Deserialize)]
    struct Row {
        settings: Vec<(String, String)>,
    }
    // What this statement needs itself is not shown as the profile has it, and is set back in any case.
    let of_statement = ["output_format_json_array_of_rows", "use_query_cache"];
    // One row, whatever limits the answer.
    let row = session.row::<Row>(
        "SELECT groupArray([name, value]) AS settings FROM system.settings WHERE changed \
         SETTINGS output_format_json_array_of_rows = 0, use_query_cache = 0",
    )?;
    let set_back = |(name, value): (String, String)| {
        let neutral = match name.contains(OVERFLOW_MODE) {
            true => "throw",
            false => NEUTRAL.iter().find(|(known, _)| *known == name)?.1,
        };
        let is_other = value != neutral || of_statement.contains(&name.as_str());
        is_other.then(|| (name, neutral.to_owned()))
    };
    Ok(row.settings.into_iter().filter_map(set_back).collect())
}
