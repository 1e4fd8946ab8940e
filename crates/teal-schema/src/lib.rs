//! Plain types for what a user declares and what a server has: schemas, tables, columns, engines,
//! views, versions and names, and the DDL text that follows from them. Nothing here does IO.
//!
//! Type and expression texts are kept as ClickHouse writes them: the server is the normaliser, so
//! two texts are only ever compared after the same server has read both back.

mod column;
mod ddl;
mod engine;
mod ident;
mod location;
mod references;
mod schema;
mod table;
mod version;
mod view;

pub use column::{Column, ColumnDefault, DefaultKind};
pub use ddl::{create_table, create_view};
pub use engine::Engine;
pub use ident::{QualifiedName, quote_ident, quote_string};
pub use location::Location;
pub use references::{ReferenceError, TableReference, rewrite_table_references};
pub use schema::{Schema, SchemaError};
pub use table::{Index, LifeCycle, Projection, Table, TableRef};
pub use version::{Version, VersionError, physical_name};
pub use view::View;
