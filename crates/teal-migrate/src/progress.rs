use std::time::Duration;

/// The steps of a migration that take time, as a person follows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Prepare,
    Fence,
    Backfill,
    Verify,
    Repair,
    Cutover,
    Turn,
    Rollback,
    Cleanup,
    Abort,
}

impl Step {
    pub fn name(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Fence => "fence",
            Self::Backfill => "backfill",
            Self::Verify => "verify",
            Self::Repair => "repair",
            Self::Cutover => "cutover",
            Self::Turn => "turn",
            Self::Rollback => "rollback",
            Self::Cleanup => "cleanup",
            Self::Abort => "abort",
        }
    }
}

/// What a migration tells while it runs.
#[derive(Debug, Clone)]
pub enum Update<'a> {
    Began {
        migration: &'a str,
        step: Step,
    },
    Ended {
        migration: &'a str,
        step: Step,
        took: Duration,
        outcome: String,
    },
    /// Rows copied so far, of those to copy.
    Copied {
        rows: u64,
        of: u64,
    },
    /// The migration cannot go on at once, and why.
    Waiting {
        reason: String,
    },
    /// What it waited for has come.
    WentOn,
    /// Something that does not hinder the migration, and that a person should know.
    Warning {
        what: String,
    },
    /// Green has rows that blue has lost; they are about to be removed.
    Stale {
        what: String,
    },
    /// Something left behind by a process that ended was set right.
    Healed {
        what: String,
    },
}

/// Receives the updates, from any of the migration's threads.
pub trait Observer: Sync {
    fn update(&self, update: Update<'_>);
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {
    fn update(&self, _: Update<'_>) {}
}
