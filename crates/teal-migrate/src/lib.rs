//! The migration itself. A migration goes through phases, each a type of its own:
//!
//! `Started` → `Prepared` → `Attached` → `Backfilled` → `Verified` → `CutOver` → `Cleaned`
//!
//! A rollback leads from `CutOver` back to `Backfilled`; up to `Verified`, `Aborting` → `Aborted` is the
//! way out.
//!
//! The way from one to the next is a method of [`Operator`], in a file named after it; it ends
//! with an entry in the [`Journal`], written after its effect, and is safe to repeat. The state of a
//! migration is the fold of its journal, so any process can go on where another one ended.

mod abort;
mod alter;
mod altered;
mod apply;
mod at_once;
mod backfill;
mod cleanup;
mod cutover;
mod error;
mod failpoint;
mod fence;
mod interrupt;
mod journal;
mod lock;
mod logs;
mod names;
mod operator;
mod prepare;
mod progress;
mod repair;
mod requests;
mod rollback;
mod settings;
mod statements;
mod status;
mod throttle;
mod verify;

pub use apply::{Applied, Migrated};
pub use backfill::BackfillOptions;
pub use cleanup::parked::Parked;
pub use error::MigrateError;
pub use interrupt::Interrupt;
pub use journal::phase::{
    Aborted, Aborting, Attached, Backfilled, Cleaned, CutOver, Phase, PhaseName, Prepared, Started,
    Verified,
};
pub use journal::state::{Migrating, history};
pub use journal::{Entry, Event, Journal, JournalError};
pub use lock::live::{Doing, Live, Running, Waiting};
pub use lock::{Lock, LockError};
pub use operator::{Goal, Operator, OperatorOptions};
pub use progress::{Observer, Silent, Step, Update};
pub use repair::seen::{PartsSeen, SeenPart};
pub use repair::{Leave, Repaired};
pub use requests::{Ask, Asked, Request, RequestError};
pub use status::{Fence, Proof, Status, Verification, Worker, read_status};
pub use throttle::limits::{Bytes, Hours, Latency, Limit, Limits, Parts};
pub use verify::parity::{Mismatch, Parity, Sample};
pub use verify::{ProvenPartition, SampleFound, SampleOf};
