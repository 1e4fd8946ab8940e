//! Statements that several steps send. Those by which a name changes hands are sent
//! [for good](Operator::command_for_good).

use teal_schema::QualifiedName;

use crate::{MigrateError, Operator};

impl Operator<'_> {
    /// The two names change places.
    pub(crate) fn exchange_tables(
        &self,
        one: &QualifiedName,
        other: &QualifiedName,
    ) -> Result<(), MigrateError> {
        self.command_for_good(&format!("EXCHANGE TABLES {} AND {}", one.sql(), other.sql()))
    }

    /// Of what is teal's own alone: with its data.
    pub(crate) fn drop_table(&self, name: &QualifiedName) -> Result<(), MigrateError> {
        self.command(&format!("{} SYNC", dropped(name)))
    }

    /// A view or an alias of teal's own, which has no data. With SYNC it would wait for the statements that know it.
    pub(crate) fn drop_view(&self, name: &QualifiedName) -> Result<(), MigrateError> {
        self.command(&dropped(name))
    }

    /// Of what users may use. With SYNC it would wait for their statements, without a word and past every `KILL`. And so
    /// the data stays for some minutes, in which `UNDROP` brings it back: the rows of the table that is kept may have
    /// been written a moment ago, and no server brings them to the disk at once.
    pub(crate) fn drop_used(&self, name: &QualifiedName) -> Result<(), MigrateError> {
        self.command_for_good(&dropped(name))
    }

    /// Until the server is started anew, or they are started again.
    pub(crate) fn stop_merges(&self, table: &QualifiedName) -> Result<(), MigrateError> {
        self.command(&format!("SYSTEM STOP MERGES {}", table.sql()))
    }

    pub(crate) fn start_merges(&self, table: &QualifiedName) -> Result<(), MigrateError> {
        self.command(&format!("SYSTEM START MERGES {}", table.sql()))
    }
}

pub(crate) fn dropped(name: &QualifiedName) -> String {
    format!("DROP TABLE IF EXISTS {}", name.sql())
}
