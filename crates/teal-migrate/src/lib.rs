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
mod alias;
mod alone;
mod alter;
mod altered;
mod apply;
mod at_once;
mod backfill;
mod carry;
mod cleanup;
mod clone;
mod cutover;
mod dependents;
mod error;
mod failpoint;
mod fence;
mod interrupt;
mod journal;
mod limits;
mod live;
mod lock;
mod missed;
mod names;
mod operator;
mod parity;
mod parked;
mod past_view;
mod phase;
mod prepare;
mod pressure;
mod progress;
mod readers;
mod removal;
mod repair;
mod request_file;
mod requests;
mod retire;
mod rollback;
mod seen;
mod stale;
mod state;
mod status;
mod still_used;
mod swap;
mod throttle;
mod turn;
mod verify;

pub use apply::{Applied, Migrated};
pub use backfill::BackfillOptions;
pub use error::MigrateError;
pub use interrupt::Interrupt;
pub use journal::{Entry, Event, Journal, JournalError};
pub use limits::{Bytes, Hours, Latency, Limit, Limits};
pub use live::{Doing, Live, Running, Waiting};
pub use lock::{Lock, LockError};
pub use operator::{Goal, Operator, OperatorOptions};
pub use parity::{Mismatch, Parity, Sample};
pub use parked::Parked;
pub use phase::{
    Aborted, Aborting, Attached, Backfilled, Cleaned, CutOver, Phase, Prepared, Publication,
    Started, Verified,
};
pub use progress::{Observer, Silent, Step, Update};
pub use repair::{Leave, Repaired};
pub use requests::{Ask, Asked, Orders, Request, RequestError, peek_requests};
pub use seen::{BlueSeen, SeenPart};
pub use state::{Migrating, history};
pub use status::{Fence, Status, Verification, Worker, read_status};
pub use verify::{ProvenPartition, SampleFound};
