//! Reads a server: its tables, columns, keys, views and parts, and how it reads a SELECT. The
//! shadow database, where the desired tables are created so that the server itself normalises
//! them, is here too.

mod alike;
mod catalog;
mod declared;
mod features;
mod feeders;
mod grants;
mod parts;
mod query_tree;
mod readers;
mod scratch;
mod shadow;
mod traffic;
mod types;

pub use alike::{definitions, formatted, made_alike};
pub use catalog::{Catalog, CatalogColumn, CatalogTable, exists, own_directory};
pub use declared::{Declaration, HIDDEN, Pulled};
pub use features::{Feature, Features};
pub use feeders::{Feeder, FeederKind, feeders};
pub use grants::{Grant, has_rights, missing_on_tables};
pub use parts::{Amount, Part, active_parts, amount};
pub use query_tree::{Grouped, QueryTree, QueryTreeError};
pub use readers::{ReadingView, fired_views, reading_views, reads};
pub use scratch::{SCRATCH_PREFIX, Scratch, permissive_session};
pub use shadow::{Shadow, ShadowError, acts_when_made, without_replicas};
pub use traffic::{LeftOut, Traffic, Use, mentions, traffic, uses};
pub use types::{reads_alike, time_zones, widens};
