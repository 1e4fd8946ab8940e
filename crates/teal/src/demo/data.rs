use std::path::Path;

use teal_client::{ClientError, Session};
use teal_schema::{QualifiedName, quote_string};

/// Rows of `flights-3m.parquet`.
const FILE_ROWS: u64 = 3_000_000;

/// The example project that the demo plays, as in `examples/flights`.
const PROJECT: &[(&str, &str)] = &[
    ("teal.toml", include_str!("../../../../examples/flights/teal.toml")),
    ("app/tables/flights.ts", include_str!("../../../../examples/flights/app/tables/flights.ts")),
    (
        "app/tables/flights_v01.ts",
        include_str!("../../../../examples/flights/app/tables/flights_v01.ts"),
    ),
    (
        "app/views/migrate_flights_to_v01.ts",
        include_str!("../../../../examples/flights/app/views/migrate_flights_to_v01.ts"),
    ),
];

/// Writes the example project to `at`.
pub(super) fn write_project(at: &Path) -> std::io::Result<()> {
    for (file, text) in PROJECT {
        let path = at.join(file);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    Ok(())
}

/// What [`write_project`] makes in a directory, and the engine beside it.
pub(super) fn is_of_project(name: &str) -> bool {
    ["teal.toml", "app", ".teal"].contains(&name)
}

/// Fills `table` with `rows` flights: the file's, again and again, each time with the dates of
/// another year.
pub(super) fn load(
    session: &mut dyn Session,
    file: &Path,
    table: &QualifiedName,
    rows: u64,
    mut progress: impl FnMut(u64),
) -> Result<(), ClientError> {
    for year in 0..rows.div_ceil(FILE_ROWS) {
        let limit = FILE_ROWS.min(rows - year * FILE_ROWS);
        session.command(&format!(
            "INSERT INTO {} (date, delay, distance, origin, destination) \
             SELECT toDateTime(date) + INTERVAL {year} YEAR, delay, distance, origin, destination \
             FROM file({}, Parquet) LIMIT {limit}",
            table.sql(),
            quote_string(&file.display().to_string()),
        ))?;
        progress(year * FILE_ROWS + limit);
    }
    Ok(())
}
