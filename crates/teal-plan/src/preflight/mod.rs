//! Looks at what a plan would meet before anything is done.

mod aliases;
mod begun;
mod checks;
mod created;
mod defaults;
mod drops;
mod expiring;
mod feeders;
mod in_time;
mod left_out;
mod names;
mod policies;
mod readers;
mod recomputed;
mod retries;
mod rights;
mod ties;
mod unstored;
mod values;

use std::collections::BTreeMap;

pub(crate) use expiring::as_green;
pub use expiring::expired;
pub(crate) use left_out::brings;
pub use policies::{RowPolicy, row_policies};
pub(crate) use recomputed::COPY_IT;
pub use rights::{GLOBAL_RIGHTS, MIGRATION_RIGHTS, OWN_DATABASES, OWN_RIGHTS};
use serde::Deserialize;
use teal_catalog::{Catalog, CatalogTable, Features, traffic};
use teal_client::{Server, Session};
use teal_schema::{QualifiedName, call, quote_ident, quote_string, read_create};
pub use values::{Values, may_lose, values};

use crate::plan::Finding;
use crate::planner::PlanError;
use crate::{
    AlterCost, Check, Conflict, Cutover, Fold, History, Migration, Needs, Operation, Plan, in_order,
};

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
        fired_by: BTreeMap::new(),
        conflicts: Vec::new(),
        findings: Vec::new(),
        notes: Vec::new(),
    };
    preflight.look()?;
    let Preflight { conflicts, findings, .. } = preflight;
    let came_up = conflicts.into_iter().filter(|it| !plan.conflicts.contains(it));
    plan.conflicts.extend(came_up.collect::<Vec<_>>());
    plan.findings = findings;
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
    /// The tables that fire planned views, where it takes the models to tell.
    pub(crate) fired_by: BTreeMap<QualifiedName, String>,
    pub(crate) conflicts: Vec<Conflict>,
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
        self.look_for_databases()?;
        self.look_at_flows()?;
        self.look_at_begun();
        self.look_at_drops()?;
        self.look_at_older();
        self.look_at_mutations(&migrations)?;
        self.look_at_disks(&migrations)?;
        self.look_at_row_policies(&migrations)?;
        self.look_at_sight(&migrations)?;
        self.look_at_databases(&migrations)?;
        self.look_at_engines(&migrations);
        self.look_at_aliases()?;
        self.look_at_fence(&migrations);
        self.look_at_expiring()?;
        self.look_at_defaults()?;
        for migration in &migrations {
            self.look_at_readers(migration)?;
            self.look_at_feeders(migration)?;
            self.look_at_statements(migration);
            if migration.cutover == Cutover::App {
                self.look_at_users(migration)?;
            }
            self.look_at_resetting(migration);
            self.look_at_left_out(migration)?;
            self.look_at_values(migration)?;
            self.look_at_unstored(migration)?;
            self.look_at_recomputed(migration)?;
            self.look_at_retries(migration);
            self.look_at_partitions(migration)?;
            self.look_at_checks(migration)?;
            self.look_at_ties(migration)?;
            self.look_at_traffic(migration)?;
        }
        self.look_at_grants()
    }

    pub(crate) fn found(&mut self, about: &QualifiedName, blocks: bool, says: String, fix: String) {
        self.findings.push(Finding { about: about.clone(), says, fix, blocks });
    }

    /// teal makes tables, and no databases.
    fn look_for_databases(&mut self) -> Result<(), PlanError> {
        #[derive(Deserialize)]
        struct Row {
            name: String,
        }
        let there = self.session.rows::<Row>("SELECT name FROM system.databases")?;
        let is_there = |name: &str| there.iter().any(|row| row.name == name);
        let objects = self.operations.iter().map(|operation| operation.object().clone());
        let mut lacking = objects.filter(|it| !is_there(&it.database)).collect::<Vec<_>>();
        lacking.dedup_by(|one, other| one.database == other.database);
        for object in lacking {
            let says = format!("the database {} is not there", object.database);
            let create = format!("CREATE DATABASE {}", quote_ident(&object.database));
            self.found(&object, true, says, format!("create it: {create}"));
        }
        Ok(())
    }

    /// A mutation that goes on while blue's parts are taken would change some rows of blue only. One that fails, parts
    /// would have to go through with that of an ALTER.
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
        let blues = migrations.iter().map(|migration| &migration.blue).collect::<Vec<_>>();
        let altered = self.operations.iter().filter_map(|operation| match operation {
            Operation::AlterTable { table, cost: AlterCost::Mutation, .. } => Some(table),
            _ => None,
        });
        let tables = blues.iter().copied().chain(altered).collect::<Vec<_>>();
        if tables.is_empty() {
            return Ok(());
        }
        let rows = self.session.rows::<Row>(&format!(
            "SELECT database, table, mutation_id, command, parts_to_do, latest_fail_reason \
             FROM system.mutations WHERE NOT is_done AND {}",
            QualifiedName::condition_of_any(&tables, "table")
        ))?;
        for row in rows {
            let failing = match row.latest_fail_reason.as_str() {
                "" => String::new(),
                reason => format!(", and fails: {reason}"),
            };
            let table = QualifiedName::new(&row.database, &row.table);
            // `apply` waits for one that does not fail.
            if failing.is_empty() && !blues.contains(&&table) {
                continue;
            }
            let says = format!(
                "the mutation {} ({}) is in progress, {} parts to do{failing}",
                row.mutation_id, row.command, row.parts_to_do
            );
            let fix = format!(
                "wait until it has ended, or end it: KILL MUTATION WHERE {} AND mutation_id = {}",
                table.condition("table"),
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
        #[derive(Deserialize)]
        struct Default {
            value: String,
        }
        let default = self.session.rows::<Default>(
            "SELECT value FROM system.merge_tree_settings WHERE name = 'storage_policy'",
        )?;
        let default = default.first().map_or("default", |it| it.value.as_str());
        // Where it writes.
        let needs = self.operations.iter().filter_map(|operation| {
            let CatalogTable { rows, bytes, storage_policy, .. } =
                self.current.table(operation.object())?;
            let (needs, policy) = match operation {
                Operation::AlterTable { cost, .. } => {
                    (Needs::of_alter(*cost, *bytes), storage_policy.clone())
                }
                Operation::Migrate { migration, .. } if migrations.contains(migration) => {
                    let policy = policy(&migration.create_green);
                    let policy = policy.unwrap_or_else(|| default.to_owned());
                    (Needs::of_copy(migration.strategy, *rows, *bytes), policy)
                }
                _ => return None,
            };
            let bytes = needs.disk_bytes;
            (bytes > 0).then(|| (operation.object().clone(), bytes, policy))
        });
        let needs = needs.collect::<Vec<_>>();
        if needs.is_empty() {
            return Ok(());
        }
        let disks = self.session.rows::<Row>(
            "SELECT policy_name AS policy, sum(unreserved_space) AS free \
             FROM (SELECT policy_name, arrayJoin(disks) AS disk FROM system.storage_policies) AS p \
             ALL INNER JOIN system.disks AS d ON d.name = p.disk GROUP BY policy_name",
        )?;
        for disk in disks {
            let on_it = needs.iter().filter(|(.., policy)| *policy == disk.policy);
            let on_it = on_it.cloned().collect::<Vec<_>>();
            let needed = on_it.iter().map(|(_, bytes, _)| bytes).sum::<u64>();
            if let Some((largest, ..)) = on_it.iter().max_by_key(|(_, bytes, _)| bytes)
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

    /// Not in every database can tables be exchanged, and in some a statement goes to other servers too.
    fn look_at_databases(&mut self, migrations: &[Migration]) -> Result<(), PlanError> {
        #[derive(Deserialize)]
        struct Row {
            engine: String,
        }
        for migration in migrations {
            let database = &migration.blue.database;
            let row = self.session.row::<Row>(&format!(
                "SELECT engine FROM system.databases WHERE name = {}",
                quote_string(database)
            ))?;
            let engine = row.engine;
            if engine == "Ordinary" && migration.cutover != Cutover::App {
                let says = format!(
                    "the database {database} has the engine {engine}, in which tables cannot be exchanged"
                );
                let fix = match migration.in_place {
                    true => "declare a new version with a migration view, and move by `--by app`",
                    false => "move by `--by app`",
                };
                self.found(&migration.blue, true, says, fix.to_owned());
            }
            // Its DDL log repeats neither INSERTs nor what moves parts (`DatabaseReplicated::shouldReplicateQuery`, 26.9).
            if engine == "Replicated" {
                let says = format!(
                    "the database {database} has the engine Replicated: the new table, the cutover and the cleanup would come to all its servers, and the copied rows to this one alone"
                );
                let fix = "migrate it by hand".to_owned();
                self.found(&migration.blue, true, says, fix);
            }
        }
        Ok(())
    }

    /// What teal copies, this server alone has.
    fn look_at_engines(&mut self, migrations: &[Migration]) {
        for Migration { blue, green, create_green, .. } in migrations {
            let of_blue = self.current.table(blue).map(|table| table.engine.clone());
            let of_green = || {
                let range = read_create(create_green).ok()??.engine?;
                Some(call(create_green.get(range)?).ok()?.0.to_owned())
            };
            for (table, engine) in [(blue, of_blue), (green, of_green())] {
                let engine = engine.unwrap_or_default();
                if engine.starts_with("Replicated") || engine.starts_with("Shared") {
                    let says = format!("teal is not proven on tables of {engine} yet");
                    self.found(table, true, says, "migrate it by hand".to_owned());
                }
            }
        }
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
                    "there is no part_log, which tells INSERTs that run across a cut apart: {what} by a quiet cut, in a moment without INSERTs into {}; without such a moment teal gives up after the fence's time (`fence_timeout` in teal.toml)",
                    migration.blue
                );
                self.found(&migration.blue, false, says, ENABLE_PART_LOG.to_owned());
            }
            if migration.cutover == Cutover::Exchange && !migration.minds_no_order() {
                let says = "on a server, an exchange carries INSERTs that run across it over after others, which is not exact where the new engine folds rows by the order in which they come";
                let fix = match migration.in_place {
                    true => "declare a new version with a migration view, and move by `--by app`",
                    false => "move by `--by app`",
                };
                self.found(&migration.blue, true, says.to_owned(), fix.to_owned());
            } else if migration.cutover == Cutover::Exchange
                && !migration.rows_tell()
                && !self.features.part_log.is_there
            {
                let says = "on a server, only part_log tells which rows an exchange has to carry over where the new engine adds rows up";
                self.found(&migration.blue, true, says.to_owned(), ENABLE_PART_LOG.to_owned());
            }
            if migration.keeps_order()
                && matches!(migration.fold, Some(Fold::Last { sign: Some(_), .. }))
            {
                let says = "on a server, INSERTs that run while the history is put in front of them may come twice, which this engine would not fold away";
                let fix = in_order::instead("CollapsingMergeTree").to_owned();
                self.found(&migration.blue, true, says.to_owned(), fix);
            }
        }
    }

    /// An INSERT into too many partitions fails, the users' through the view as well.
    fn look_at_partitions(&mut self, migration: &Migration) -> Result<(), PlanError> {
        #[derive(Deserialize)]
        struct Row {
            #[serde(rename = "_teal_partitions")]
            partitions: u64,
            #[serde(rename = "_teal_most")]
            most: u64,
        }
        let key = &migration.green_partition_key;
        let blue = self.current.table(&migration.blue).map(|blue| &blue.partition_key);
        if key.is_empty() || blue == Some(key) {
            return Ok(());
        }
        // A key of a column that the SELECT does not give: its default makes one partition.
        let counted = self.look_in_time::<Row>(
            &migration.green,
            &format!(
                "SELECT uniq({key}) AS _teal_partitions, \
                     (SELECT toUInt64(value) FROM system.settings WHERE name = 'max_partitions_per_insert_block') AS _teal_most \
                 FROM {}",
                as_green(migration, key)
            ),
            "rows of more partitions than an INSERT may have",
        )?;
        let Some(row) = counted else {
            return Ok(());
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
}

/// The storage policy that the statement of a table names. That of a `disk` has a name of the server's (26.7).
fn policy(create: &str) -> Option<String> {
    let disk = || Some(format!("__{}", created::setting(create, "disk")?));
    created::setting(create, "storage_policy").or_else(disk)
}
