//! The bounds within which a protocol is checked, and what its server is like.

/// What an INSERT is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InsertPlan {
    pub(crate) parts: u8,
    /// The SELECT leaves its rows out.
    pub(crate) is_filtered: bool,
    /// A client may use an id again when the INSERT before has ended.
    pub(crate) query: usize,
}

/// Bounds, and what the server is like.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) inserts: Vec<InsertPlan>,
    /// Parts, of one row each, that are there before.
    pub(crate) history: u8,
    pub(crate) merges: u8,
    pub(crate) crashes: u8,
    pub(crate) cuts: u8,
    /// INSERTs that fail, or whose clients go, in their midst, before the cutover is done.
    pub(crate) cut_offs: u8,
    /// The server may crash as well; the INSERTs and merges that run then are cut off.
    pub(crate) server_crashes: bool,
    /// Merges may be those of users, past the settings that stop the server's own.
    pub(crate) users_merge: bool,
    /// The server is teal's own process: a crash is one of both.
    pub(crate) is_embedded: bool,
    /// teal may lose its connection and go on.
    pub(crate) loses_connection: bool,
    /// The server may refuse a statement of teal: in place of a crash.
    pub(crate) statements_fail: bool,
    /// A part may be committed to the view's table before it is committed to the INSERT's.
    pub(crate) either_order: bool,
    /// Parts are listed in the order of their commits, and the first parts of the first two INSERTs
    /// have equal rows.
    pub(crate) equal_rows: bool,
    pub(crate) has_part_log: bool,
    /// Whether the cut is refused where a part was merged or went.
    pub(crate) has_nets: bool,
    /// A clone into green instead of a rewrite.
    pub(crate) is_clone: bool,
    /// After an exchange the view runs the other way.
    pub(crate) forwards_back: bool,
    /// Which rows a table lacks can be told by comparing them. Not where an engine adds them up.
    pub(crate) rows_tell: bool,
    /// The lists of parts before an exchange are in the journal.
    pub(crate) lists_survive: bool,
    /// An entry that could not be written is the last that the process writes.
    pub(crate) ends_when_unsure: bool,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            inserts: inserts(&[2, 1]),
            history: 1,
            merges: 1,
            crashes: 1,
            cuts: 2,
            cut_offs: 0,
            server_crashes: false,
            users_merge: false,
            is_embedded: false,
            loses_connection: false,
            statements_fail: false,
            either_order: false,
            equal_rows: false,
            has_part_log: true,
            has_nets: true,
            is_clone: false,
            forwards_back: true,
            rows_tell: true,
            lists_survive: true,
            ends_when_unsure: true,
        }
    }
}

/// Whether `TEAL_MODEL_BOUNDS=large` asks for minutes.
pub(crate) fn is_large() -> bool {
    std::env::var("TEAL_MODEL_BOUNDS").is_ok_and(|bounds| bounds == "large")
}

/// Bounds of about a second.
pub(crate) fn small(parts: &[u8]) -> Setting {
    Setting { inserts: inserts(parts), ..Setting::default() }
}

/// Bounds of up to a minute.
pub(crate) fn large(parts: &[u8]) -> Setting {
    Setting { either_order: true, ..small(parts) }
}

/// INSERTs of so many parts, each with a query id of its own.
pub(crate) fn inserts(parts: &[u8]) -> Vec<InsertPlan> {
    let plan = |(query, &parts)| InsertPlan { parts, is_filtered: false, query };
    parts.iter().enumerate().map(plan).collect()
}
