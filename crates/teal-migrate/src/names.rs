use teal_schema::QualifiedName;

/// The database on the target that holds the journal and everything teal makes for itself.
pub(crate) const TEAL_DATABASE: &str = "_teal";

/// The storage setting that stops merges of a table when it is 1: no two parts are small enough to
/// be merged. Unlike `SYSTEM STOP MERGES` it survives a restart (seen on 26.7), so the parts of a
/// table can be found again by name after a crash.
pub(crate) const MERGE_LIMIT: &str = "max_bytes_to_merge_at_max_space_in_pool";

/// The hard-link clone of blue that the backfill reads.
pub(crate) fn snapshot(migration: &str) -> QualifiedName {
    own(migration, "snapshot")
}

/// Where a worker builds a chunk before it is published.
pub(crate) fn staging(migration: &str, worker: usize) -> QualifiedName {
    own(migration, &format!("staging_{worker}"))
}

/// Hard-link clones of both tables at one moment, for the verification.
pub(crate) fn verify(migration: &str, colour: &str) -> QualifiedName {
    own(migration, &format!("verify_{colour}"))
}

/// Blue on its way out.
pub(crate) fn retired(migration: &str) -> QualifiedName {
    own(migration, "retired")
}

fn own(migration: &str, role: &str) -> QualifiedName {
    QualifiedName::new(TEAL_DATABASE, format!("{migration}_{role}"))
}
