//! Plain types for what a user declares and what a server has: schemas, tables, columns, engines,
//! views, versions and names, and the DDL text that follows from them. Nothing here does IO.
//!
//! Type and expression texts are kept as ClickHouse writes them: the server is the normaliser, so
//! two texts are only ever compared after the same server has read both back.

mod column;
mod ddl;
mod diagnostic;
mod engine;
mod hash;
mod ident;
mod location;
mod pattern;
mod references;
mod schema;
mod statements;
mod table;
mod tokens;
mod version;
mod view;

pub use column::{Column, ColumnDefault, DefaultKind};
pub use ddl::{
    column_definition, constraint_definition, create_alias, create_table, create_table_as,
    create_view, index_definition, projection_definition, setting_value, sorting_key_expression,
};
pub use diagnostic::Diagnostic;
pub use engine::Engine;
pub use hash::hash_128;
pub use ident::{
    QualifiedName, escape_ident, quote_ident, quote_string, quoted_list, shell_word, unquote_string,
};
pub use location::Location;
pub use pattern::{matches, names_column};
pub use references::{TableReference, rewrite_table_references};
pub use schema::{Schema, SchemaError};
pub use statements::{Comment, Create, CreateKind, Statement, read_create, statements};
pub use table::{Constraint, ConstraintKind, Index, LifeCycle, Projection, Table, TableRef};
pub use tokens::{TokenError, call, clause, head, names, sorting_key, split_list};
pub use version::{Version, VersionError, physical_name};
pub use view::View;
