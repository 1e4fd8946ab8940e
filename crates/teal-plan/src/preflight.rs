//! Looks at what a plan would meet before anything is done.

use serde::Deserialize;
use teal_catalog::{
    Catalog, CatalogTable, Features, Grant, has_rights, missing_on_tables, traffic, widens,
};
use teal_client::{ClientError, Server, Session};
use teal_schema::{QualifiedName, clause, head, quote_ident, quote_string, split_list};

use crate::plan::Finding;
use crate::planner::PlanError;
use crate::{Check, Cutover, Field, Fold, History, Migration, Needs, Operation, Plan, in_order};

/// How long one look at the values of a column may take: a plan is made often, and the table may have
/// a trillion rows.
pub(crate) const SECONDS_PER_COLUMN: u32 = 10;

/// How a server comes to have `part_log`.
pub const ENABLE_PART_LOG: &str = "put <part_log><database>system</database><table>part_log</table></part_log> into the server's configuration, and restart it; where that is there, SYSTEM FLUSH LOGS makes the table";

/// Looks at the target again for a plan that was made earlier, and puts what is found now in the place of
/// what was found then. What `check` says has been done, and migrations that are under way, are not
/// looked at any more.
///
/// # Errors
/// When the server cannot be asked.
pub fn preflight(
    server: &dyn Server,
    plan: &mut Plan,
    check: &Check,
    history: &History,
) -> Result<(), PlanError> {
    let mut session = server.session(&[])?;
    let databases = plan.databases().into_iter().collect::<Vec<_>>();
    let current = Catalog::read(session.as_mut(), &databases)?;
    let features = Features::read(session.as_mut())?;
    let left = plan.operations.iter().zip(&check.done);
    let left = left.filter(|(operation, done)| {
        operation.statements().is_none_or(|statements| **done < statements.len())
    });
    let mut preflight = Preflight {
        session: session.as_mut(),
        features: &features,
        current: &current,
        history,
        is_exclusive: server.is_exclusive(),
        has_gate: server.write_gate().is_some(),
        operations: left.map(|(operation, _)| operation).collect(),
        findings: Vec::new(),
        notes: Vec::new(),
    };
    preflight.look()?;
    plan.findings = preflight.findings;
    Ok(())
}

pub(crate) struct Preflight<'a> {
    /// Of the target itself, as all that follows.
    pub(crate) session: &'a mut dyn Session,
    pub(crate) features: &'a Features,
    pub(crate) current: &'a Catalog,
    pub(crate) history: &'a History,
    /// Nobody else has the target open.
    pub(crate) is_exclusive: bool,
    /// INSERTs into the target can be held.
    pub(crate) has_gate: bool,
    /// What the plan has left to do.
    pub(crate) operations: Vec<&'a Operation>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) notes: Vec<String>,
}

impl Preflight<'_> {
    /// Finds what stands in the way of the operations, or may surprise, each with what to do.
    pub(crate) fn look(&mut self) -> Result<(), PlanError> {
        // A table that the plan creates is empty, and nothing is known of it.
        let begins = |operation: &&Operation| match operation {
            Operation::Migrate { migration, .. }
                if self.current.table(&migration.blue).is_some()
                    && !self.history.is_on_its_way(&migration.green) =>
            {
                Some((**migration).clone())
            }
            _ => None,
        };
        let migrations = self.operations.iter().filter_map(begins).collect::<Vec<_>>();
        self.look_at_mutations(&migrations)?;
        self.look_at_disks(&migrations)?;
        self.look_at_row_policies(&migrations)?;
        self.look_at_databases(&migrations)?;
        self.look_at_aliases()?;
        self.look_at_fence(&migrations);
        self.look_at_expiring()?;
        for migration in &migrations {
            self.look_at_readers(migration)?;
            self.look_at_values(migration)?;
            self.look_at_partitions(migration)?;
            self.look_at_ties(migration)?;
            self.look_at_traffic(migration)?;
        }
        self.look_at_grants()
    }

    pub(crate) fn found(&mut self, about: &QualifiedName, blocks: bool, says: String, fix: String) {
        self.findings.push(Finding { about: about.clone(), says, fix, blocks });
    }

    /// A mutation that goes on while blue's parts are taken would change some rows of blue only.
    fn look_at_mutations(&mut self, migrations: &[Migration]) -> Result<(), PlanError> {
        #[derive(Deserialize)]
        struct Row {
            database: String,
            table: String,
            mutation_id: String,
            command: String,
            parts_to_do: i64,
            latest_fail_reason: String,
        }
        let tables = migrations.iter().map(|migration| &migration.blue).collect::<Vec<_>>();
        if tables.is_empty() {
            return Ok(());
        }
        let rows = self.session.rows::<Row>(&format!(
            "SELECT database, table, mutation_id, command, parts_to_do, latest_fail_reason \
             FROM system.mutations WHERE NOT is_done AND (database, table) IN ({})",
            list(&tables)
        ))?;
        for row in rows {
            let failing = match row.latest_fail_reason.as_str() {
                "" => String::new(),
                reason => format!(", and fails: {reason}"),
            };
            let table = QualifiedName::new(&row.database, &row.table);
            let says = format!(
                "the mutation {} ({}) is in progress, {} parts to do{failing}",
                row.mutation_id, row.command, row.parts_to_do
            );
            let fix = format!(
                "wait until it has ended, or end it: KILL MUTATION WHERE database = {} AND table = {} AND mutation_id = {}",
                quote_string(&row.database),
                quote_string(&row.table),
                quote_string(&row.mutation_id)
            );
            self.found(&table, true, says, fix);
        }
        Ok(())
    }

    fn look_at_disks(&mut self, migrations: &[Migration]) -> Result<(), PlanError> {
        #[derive(Deserialize)]
        struct Row {
            policy: String,
            free: u64,
        }
        let needs = self.operations.iter().filter_map(|operation| {
            let CatalogTable { rows, bytes, .. } = self.current.table(operation.object())?;
            let needs = match operation {
                Operation::AlterTable { cost, .. } => Needs::of_alter(*cost, *bytes),
                Operation::Migrate { migration, .. } if migrations.contains(migration) => {
                    Needs::of_copy(migration.strategy, *rows, *bytes)
                }
                _ => return None,
            };
            (needs.disk_bytes > 0).then(|| (operation.object().clone(), needs.disk_bytes))
        });
        let needs = needs.collect::<Vec<_>>();
        if needs.is_empty() {
            return Ok(());
        }
        let disks = self.session.rows::<Row>(
            "SELECT policy_name AS policy, sum(unreserved_space) AS free \
             FROM (SELECT policy_name, arrayJoin(disks) AS disk FROM system.storage_policies) AS p \
             INNER JOIN system.disks AS d ON d.name = p.disk GROUP BY policy_name",
        )?;
        for disk in disks {
            let on_it = needs.iter().filter(|(table, _)| {
                let now = self.current.table(table);
                now.is_some_and(|now| now.storage_policy == disk.policy)
            });
            let on_it = on_it.cloned().collect::<Vec<_>>();
            let needed = on_it.iter().map(|(_, bytes)| bytes).sum::<u64>();
            if let Some((largest, _)) = on_it.iter().max_by_key(|(_, bytes)| bytes)
                && needed > disk.free
            {
                let says = format!(
                    "the storage policy {} has {} bytes free, and the plan needs about {needed} until its cleanups",
                    disk.policy, disk.free
                );
                let fix = "free some, add a disk, or do one table after the other".to_owned();
                self.found(&largest.clone(), true, says, fix);
            }
        }
        Ok(())
    }

    /// A policy belongs to a table's name. It hides rows from teal if it is not exempt, and green has
    /// none.
    fn look_at_row_policies(&mut self, migrations: &[Migration]) -> Result<(), PlanError> {
        #[derive(Deserialize)]
        struct Row {
            name: String,
            database: String,
            table: String,
            /// It hides rows from this user.
            is_for_me: u8,
        }
        let Some(first) = migrations.first() else {
            return Ok(());
        };
        let tables = migrations.iter().flat_map(|it| [&it.blue, &it.green]).collect::<Vec<_>>();
        // A users file with a filter for one user gives the others one that lets all rows through.
        let me = "arrayConcat([currentUser()], currentRoles())";
        let rows = self.session.rows::<Row>(&format!(
            "SELECT short_name AS name, database, table, \
                 if(apply_to_all, NOT hasAny(apply_to_except, {me}), hasAny(apply_to_list, {me})) AS is_for_me \
             FROM system.row_policies \
             WHERE (database, table) IN ({}) AND ifNull(select_filter, '') != '1'",
            list(&tables)
        ));
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) if error.server_name() == Some("ACCESS_DENIED") => {
                // Nobody but this process uses an engine of its own.
                if !self.is_exclusive {
                    self.found(
                        &first.blue.clone(),
                        false,
                        "teal may not see row policies, which would hide rows from it".to_owned(),
                        "GRANT SHOW ROW POLICIES ON *.* to teal's user".to_owned(),
                    );
                }
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        for migration in migrations {
            let of = |name: &QualifiedName| {
                let on = |row: &&Row| row.database == name.database && row.table == name.name;
                rows.iter().filter(on).collect::<Vec<_>>()
            };
            let blue = &migration.blue;
            for policy in of(blue) {
                let name = quote_ident(&policy.name);
                if policy.is_for_me == 1 {
                    let says = format!("the row policy {name} hides rows from teal's user");
                    let fix = format!(
                        "exempt the user: ALTER ROW POLICY {name} ON {} TO ALL EXCEPT …",
                        blue.sql()
                    );
                    self.found(blue, true, says, fix);
                }
                let has_it = of(&migration.green).iter().any(|other| other.name == policy.name);
                if migration.cutover != Cutover::Exchange && !has_it {
                    let says = format!(
                        "the row policy {name} is on {blue}; readers of {} would see all rows",
                        migration.green
                    );
                    let fix = format!(
                        "CREATE ROW POLICY {name} ON {} as it is on {blue}",
                        migration.green.sql()
                    );
                    self.found(blue, true, says, fix);
                }
            }
        }
        Ok(())
    }

    /// Two tables of a database of the engine Ordinary cannot be exchanged.
    fn look_at_databases(&mut self, migrations: &[Migration]) -> Result<(), PlanError> {
        #[derive(Deserialize)]
        struct Row {
            engine: String,
        }
        for migration in migrations.iter().filter(|it| it.cutover != Cutover::App) {
            let database = &migration.blue.database;
            let row = self.session.row::<Row>(&format!(
                "SELECT engine FROM system.databases WHERE name = {}",
                quote_string(database)
            ))?;
            if row.engine == "Ordinary" {
                let says = format!(
                    "the database {database} has the engine Ordinary, in which tables cannot be exchanged"
                );
                let fix = match migration.in_place {
                    true => "declare a new version with a migration view, and move by `--by app`",
                    false => "move by `--by app`",
                };
                self.found(&migration.blue, true, says, fix.to_owned());
            }
        }
        Ok(())
    }

    /// Rows that a new TTL deletes at once.
    fn look_at_expiring(&mut self) -> Result<(), PlanError> {
        #[derive(Deserialize)]
        struct Row {
            rows: u64,
            expired: u64,
        }
        let mut ttls = Vec::new();
        for operation in &self.operations {
            let (table, changes) = match operation {
                Operation::AlterTable { table, changes, .. } => (table, changes),
                Operation::Migrate { migration, .. } => (&migration.blue, &migration.changes),
                _ => continue,
            };
            let new = changes.iter().find(|change| change.field == Field::Ttl);
            ttls.extend(new.and_then(|change| Some((table.clone(), change.to.clone()?))));
        }
        for (table, ttl) in ttls {
            let Some(expired) = expired(&ttl) else {
                continue;
            };
            let counted = self.session.row::<Row>(&format!(
                "SELECT count() AS rows, countIf({expired}) AS expired FROM {} \
                 SETTINGS max_execution_time = {SECONDS_PER_COLUMN}, timeout_overflow_mode = 'break'",
                table.sql()
            ));
            match counted {
                Ok(Row { expired: 0, .. }) => (),
                Ok(row) => {
                    let says = format!(
                        "the TTL deletes {} of {} rows as soon as it is there",
                        row.expired, row.rows
                    );
                    let fix = "see that this is meant; a time that is too far ahead for its type (a DateTime ends in 2106) counts as past";
                    self.found(&table, false, says, fix.to_owned());
                }
                // It is of a column that comes with the same change.
                Err(error) if error.server_name() == Some("UNKNOWN_IDENTIFIER") => (),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// What takes the write gate, which a server has not, and what takes `part_log` then.
    fn look_at_fence(&mut self, migrations: &[Migration]) {
        if self.has_gate {
            return;
        }
        for migration in migrations {
            if !self.features.part_log.is_there {
                let what = match migration.cutover {
                    Cutover::App | Cutover::Alias => "the view can only be attached",
                    Cutover::Exchange => "the view can only be attached, and the tables exchanged,",
                };
                let says = format!(
                    "there is no part_log, which tells INSERTs that run across a cut apart: {what} by a quiet cut, in a moment without INSERTs into {}; without such a moment teal gives up after --fence-timeout",
                    migration.blue
                );
                self.found(&migration.blue, false, says, ENABLE_PART_LOG.to_owned());
            }
            if migration.cutover == Cutover::Exchange && migration.green_folds {
                let says = "on a server, an exchange carries INSERTs that run across it over after others, which is not exact where the new engine folds rows";
                let fix = match migration.in_place {
                    true => "declare a new version with a migration view, and move by `--by app`",
                    false => "move by `--by app`",
                };
                self.found(&migration.blue, true, says.to_owned(), fix.to_owned());
            }
            if migration.keeps_order()
                && matches!(migration.fold, Some(Fold::Last { sign: Some(_), .. }))
            {
                let says = "on a server, INSERTs that run while the history is put in front of them may come twice, which this engine would not fold away";
                let fix = in_order::instead("CollapsingMergeTree").to_owned();
                self.found(&migration.blue, true, says.to_owned(), fix);
            }
            let engine = self.current.table(&migration.blue).map(|blue| blue.engine.as_str());
            let engine = engine.unwrap_or_default().to_owned();
            if engine.starts_with("Replicated") || engine.starts_with("Shared") {
                let says = format!("teal is not proven on tables of {engine} yet");
                let fix = "migrate it by hand".to_owned();
                self.found(&migration.blue, true, says, fix);
            }
        }
    }

    /// Counts the values that another type would change.
    fn look_at_values(&mut self, migration: &Migration) -> Result<(), PlanError> {
        #[derive(Deserialize)]
        struct Row {
            rows: u64,
            lost: u64,
            example: String,
        }
        let changed = migration.columns.iter().filter_map(|column| {
            Some((column.name.clone(), column.from_type.clone()?, column.data_type.clone()))
        });
        let fix = match migration.in_place {
            true => {
                "leave the type, or declare a new version with a migration view whose SELECT converts the values"
            }
            false => "say in the view's SELECT how the values are converted",
        };
        for (name, from, to) in changed.collect::<Vec<_>>() {
            let made = migration.blue.clone();
            let mut counted = Err(None);
            for cast in ["accurateCastOrNull", "accurateCast"] {
                let query = value_query(&migration.select, &name, &from, &to, cast);
                match self.session.row::<Row>(&query) {
                    Ok(row) => {
                        counted = Ok(row);
                        break;
                    }
                    // The first gives NULL for a value that does not fit, which not every type can
                    // hold; the second gives an error.
                    Err(ClientError::Server { message, .. }) => counted = Err(Some(message)),
                    Err(other) => return Err(other.into()),
                }
            }
            match counted {
                Ok(row) if row.lost > 0 => {
                    let says = format!(
                        "column {name}: {} of {} rows have a value that would not be the same as {to}, such as {}",
                        row.lost, row.rows, row.example
                    );
                    self.found(&made, true, says, fix.to_owned());
                }
                Ok(row) => {
                    let looked = match row.rows < migration.rows {
                        true => {
                            format!("of {} rows, {} were looked at", migration.rows, row.rows)
                        }
                        false => format!("all {} rows were looked at", row.rows),
                    };
                    if !widens(self.session, &from, &to)? {
                        let says = format!(
                            "column {name} becomes {to}; no value is lost so far ({looked}), but an INSERT of one that is no {to} fails while the view is there"
                        );
                        let fix = "see that none is written until the cutover".to_owned();
                        self.found(&made, false, says, fix);
                    }
                }
                Err(message) => {
                    let message = message.unwrap_or_default();
                    let says =
                        format!("column {name}: a value would not be the same as {to}: {message}");
                    self.found(&made, true, says, fix.to_owned());
                }
            }
        }
        Ok(())
    }

    /// An INSERT into too many partitions fails, the users' through the view as well.
    fn look_at_partitions(&mut self, migration: &Migration) -> Result<(), PlanError> {
        #[derive(Deserialize)]
        struct Row {
            partitions: u64,
            most: u64,
        }
        let key = &migration.green_partition_key;
        let blue = self.current.table(&migration.blue).map(|blue| &blue.partition_key);
        if key.is_empty() || blue == Some(key) {
            return Ok(());
        }
        let counted = self.session.row::<Row>(&format!(
            "SELECT uniq({key}) AS partitions, \
                 (SELECT toUInt64(value) FROM system.settings WHERE name = 'max_partitions_per_insert_block') AS most \
             FROM ({}) SETTINGS max_execution_time = {SECONDS_PER_COLUMN}, timeout_overflow_mode = 'break'",
            migration.select
        ));
        let row = match counted {
            Ok(row) => row,
            // A key of a column that the SELECT does not give: its default makes one partition.
            Err(error) if error.server_name() == Some("UNKNOWN_IDENTIFIER") => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if row.most > 0 && row.partitions > row.most {
            let says = format!(
                "{} has about {} partitions by ({key}); an INSERT into more than {} at once fails, also one into {} that the view forwards",
                migration.green, row.partitions, row.most, migration.blue
            );
            let fix = "choose a coarser partition key, or raise max_partitions_per_insert_block for the writers";
            self.found(&migration.green, false, says, fix.to_owned());
        }
        Ok(())
    }

    fn look_at_traffic(&mut self, migration: &Migration) -> Result<(), PlanError> {
        if !self.features.query_log.is_there {
            return Ok(());
        }
        let users = traffic(self.session, &migration.blue)?;
        let by = users
            .iter()
            .map(|by| format!("{} ({} SELECTs, {} INSERTs)", by.user, by.selects, by.inserts));
        let by = by.collect::<Vec<_>>();
        if !by.is_empty() {
            let note = format!("{} was used in the last hour by {}", migration.blue, by.join(", "));
            self.notes.push(note);
        }
        Ok(())
    }

    /// Asks the server for each right that the operations take.
    fn look_at_grants(&mut self) -> Result<(), PlanError> {
        let mut needed = Vec::new();
        let mut needs = |object: &QualifiedName, rights: &[&'static str]| {
            needed.extend(rights.iter().map(|right| (object.clone(), *right)));
        };
        for operation in &self.operations {
            match operation {
                Operation::CreateTable { table, .. } => needs(table, &["CREATE TABLE"]),
                Operation::CreateAlias { alias, .. } => needs(alias, &["CREATE TABLE"]),
                Operation::CreateView { view, .. } => needs(view, &["CREATE VIEW"]),
                Operation::AlterTable { table, .. } => needs(table, &["ALTER TABLE"]),
                Operation::ChangeView { view, .. } => {
                    needs(view, &["CREATE VIEW", "DROP VIEW", "ALTER VIEW"]);
                }
                Operation::Drop { object, .. } => needs(object, &["DROP TABLE", "DROP VIEW"]),
                Operation::Migrate { migration, .. } => {
                    for table in [&migration.blue, &migration.green] {
                        needs(table, MIGRATION_RIGHTS);
                    }
                    needs(&migration.view, &["CREATE VIEW", "DROP VIEW"]);
                    if migration.cutover == Cutover::Alias {
                        needs(&migration.logical_name(), ALIAS_RIGHTS);
                    }
                }
            }
        }
        let migrating = self.operations.iter().find_map(|operation| match operation {
            Operation::Migrate { migration, .. } => Some(migration.blue.clone()),
            _ => None,
        });
        if let Some(blue) = migrating {
            for (on, rights) in [(OWN_DATABASES, OWN_RIGHTS), ("*.*", GLOBAL_RIGHTS)] {
                if has_rights(self.session, rights, on)? == Some(false) {
                    let grant = Grant { rights: rights.to_vec(), on: on.to_owned() };
                    let says = format!("teal's user lacks one of {} on {on}", rights.join(", "));
                    self.found(&blue, true, says, grant.sql("its user"));
                }
            }
        }
        for (object, grant) in missing_on_tables(self.session, &needed)?.unwrap_or_default() {
            let says = format!("teal's user lacks {}", grant.rights.join(", "));
            let fix = grant.sql("its user");
            self.found(&object, true, says, fix);
        }
        Ok(())
    }
}

/// On blue and on green: both are read and written, and one may be dropped.
pub const MIGRATION_RIGHTS: &[&str] =
    &["SELECT", "INSERT", "CREATE TABLE", "DROP TABLE", "ALTER TABLE", "TRUNCATE", "SYSTEM MERGES"];

/// On the logical name, to exchange one alias for another.
const ALIAS_RIGHTS: &[&str] = &["SELECT", "INSERT", "CREATE TABLE", "DROP TABLE"];

/// The journal, the lock, snapshots, staging tables and shadows are in databases of teal's own.
pub const OWN_DATABASES: &str = "_teal*.*";

pub const OWN_RIGHTS: &[&str] = &[
    "SELECT",
    "INSERT",
    "CREATE TABLE",
    "DROP TABLE",
    "ALTER TABLE",
    "TRUNCATE",
    "CREATE VIEW",
    "DROP VIEW",
    "CREATE DATABASE",
    "DROP DATABASE",
];

/// On everything: rows that wait in the server's buffer of asynchronous INSERTs belong to the copy, and
/// the log of parts must be up to date.
pub const GLOBAL_RIGHTS: &[&str] = &["SYSTEM FLUSH ASYNC INSERT QUEUE", "SYSTEM FLUSH LOGS"];

/// Counts the values of a column of `select` that are not the same in another type: those that it
/// cannot hold, and those that are other ones on the way back. The two agree for most; an integer
/// that loses its sign comes back, and a time that loses its fraction fits (both seen on 26.7).
///
/// The two are compared as arrays of one, where NULL is NULL and NaN is NaN, alone and inside other
/// values (seen on 23.10, 24.8, 25.8 and 26.9). `isNotDistinctFrom` would not take NaN for NaN, and up
/// to 25.8 is an error outside of JOIN.
fn value_query(select: &str, column: &str, from: &str, to: &str, cast: &str) -> String {
    let value = format!("value.{}", quote_ident(column));
    let (from, to) = (quote_string(from), quote_string(to));
    format!(
        "SELECT count() AS rows, countIf(is_lost) AS lost, \
             anyIf(text, is_lost) AS example \
         FROM (SELECT ifNull(toString({value}), 'NULL') AS text, {cast}({value}, {to}) AS there, \
             (isNull(there) AND NOT (isNull({value}) AND isNullable(defaultValueOfTypeName({to})))) \
                 OR [CAST(there, {from})] != [{value}] AS is_lost \
             FROM ({select}) AS value) \
         SETTINGS max_execution_time = {SECONDS_PER_COLUMN}, timeout_overflow_mode = 'break'"
    )
}

/// Whether a row's time is over, by those items of a TTL that delete.
fn expired(ttl: &str) -> Option<String> {
    const CLAUSES: [&[&str]; 6] =
        [&["DELETE"], &["WHERE"], &["TO"], &["RECOMPRESS"], &["GROUP"], &["SET"]];
    let items = split_list(ttl).ok()?;
    let deleting = items.iter().filter_map(|item| {
        let has = |word: &str| clause(item, &[word], &CLAUSES).ok().flatten();
        let keeps = ["TO", "RECOMPRESS", "GROUP"].iter().any(|word| has(word).is_some());
        let time = head(item, &CLAUSES).ok().filter(|_| !keeps)?;
        let condition = has("WHERE").unwrap_or("1");
        Some(format!("(({time}) <= now() AND ({condition}))"))
    });
    let deleting = deleting.collect::<Vec<_>>();
    (!deleting.is_empty()).then(|| deleting.join(" OR "))
}

fn list(tables: &[&QualifiedName]) -> String {
    let pair = |name: &&QualifiedName| {
        format!("({}, {})", quote_string(&name.database), quote_string(&name.name))
    };
    tables.iter().map(pair).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_deletes_expires() {
        let of = |ttl| expired(ttl);
        assert_eq!(
            of("d + toIntervalDay(1)").unwrap(),
            "((d + toIntervalDay(1)) <= now() AND (1))"
        );
        assert_eq!(
            of(
                "d DELETE WHERE f(a, b) > 1, d + 1 TO VOLUME 'slow', e RECOMPRESS CODEC(ZSTD(9)), g"
            )
            .unwrap(),
            "((d) <= now() AND (f(a, b) > 1)) OR ((g) <= now() AND (1))"
        );
        assert_eq!(of("d + 1 TO DISK 'x'"), None);
    }
}
