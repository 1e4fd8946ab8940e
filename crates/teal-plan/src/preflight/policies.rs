use serde::Deserialize;
use teal_client::{ClientError, Session};
use teal_schema::{QualifiedName, quote_ident, quoted_list};

use super::Preflight;
use crate::planner::PlanError;
use crate::{Cutover, Migration};

/// What lets some rows of a table through, and no others.
#[derive(Debug, Deserialize)]
pub struct RowPolicy {
    pub name: String,
    database: String,
    /// Empty where it is on all tables of the database.
    table: String,
    /// It hides rows from this user.
    is_for_me: u8,
    /// It is for others, and this user sees no row at all.
    #[serde(default)]
    hides_all: bool,
}

impl RowPolicy {
    pub fn is_for_me(&self) -> bool {
        self.is_for_me == 1 || self.hides_all
    }

    pub fn is_on(&self, name: &QualifiedName) -> bool {
        self.database == name.database && (self.table == name.name || self.table.is_empty())
    }

    /// How a statement names it.
    pub fn sql(&self) -> String {
        let of = match self.table.as_str() {
            "" => format!("{}.*", quote_ident(&self.database)),
            table => QualifiedName::new(&self.database, table).sql(),
        };
        format!("{} ON {of}", quote_ident(&self.name))
    }
}

/// The row policies on these tables. Nothing where this user may not see them.
///
/// # Errors
/// When the server cannot be asked.
pub fn row_policies(
    session: &mut dyn Session,
    tables: &[&QualifiedName],
) -> Result<Option<Vec<RowPolicy>>, ClientError> {
    // A role has those that were granted to it.
    let me = "arrayConcat([currentUser()], enabledRoles())";
    let databases = quoted_list(tables.iter().map(|table| &table.database));
    // A users file with a filter for one user gives the others one that lets all rows through.
    let rows = session.rows::<RowPolicy>(&format!(
        "SELECT short_name AS name, database, table, \
             if(apply_to_all, NOT hasAny(apply_to_except, {me}), hasAny(apply_to_list, {me})) AS is_for_me \
         FROM system.row_policies \
         WHERE (({}) OR (table = '' AND database IN ({}))) \
             AND ifNull(select_filter, '') != '1'",
        QualifiedName::condition_of_any(tables, "table"),
        databases
    ));
    let mut policies = match rows {
        Ok(rows) => rows,
        Err(error) if error.server_name() == Some("ACCESS_DENIED") => return Ok(None),
        Err(error) => return Err(error),
    };
    for table in tables {
        let is_on = |policy: &RowPolicy| policy.is_on(table);
        if policies.iter().any(is_on) && shows_nothing(session, table)? {
            policies.iter_mut().filter(|it| is_on(it)).for_each(|policy| policy.hides_all = true);
        }
    }
    Ok(Some(policies))
}

/// Whether a table has rows and none is to be seen. Where `users_without_row_policies_can_read_rows` is off, a policy
/// for others hides all rows from those whom none is for.
fn shows_nothing(session: &mut dyn Session, table: &QualifiedName) -> Result<bool, ClientError> {
    #[derive(Deserialize)]
    struct Row {
        rows: u64,
    }
    let Row { rows } = session.row(&format!(
        "SELECT sum(rows) AS rows FROM system.parts \
         WHERE active AND NOT has_lightweight_delete AND {}",
        table.condition("table")
    ))?;
    if rows == 0 {
        return Ok(false);
    }
    let seen = session.rows::<Row>(&format!("SELECT 1 AS rows FROM {} LIMIT 1", table.sql()))?;
    Ok(seen.is_empty())
}

impl Preflight<'_> {
    /// A policy belongs to a table's name. It hides rows from teal if it is not exempt, and green has
    /// none.
    pub(super) fn look_at_row_policies(
        &mut self,
        migrations: &[Migration],
    ) -> Result<(), PlanError> {
        let Some(first) = migrations.first() else {
            return Ok(());
        };
        let aliases = migrations.iter().map(Migration::logical_name).collect::<Vec<_>>();
        let tables = migrations.iter().flat_map(|it| [&it.blue, &it.green]);
        let tables = tables.chain(&aliases).collect::<Vec<_>>();
        let Some(policies) = row_policies(self.session, &tables)? else {
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
        };
        for migration in migrations {
            let of = |name: &QualifiedName| {
                policies.iter().filter(|policy| policy.is_on(name)).collect::<Vec<_>>()
            };
            let blue = &migration.blue;
            for policy in of(blue) {
                let name = quote_ident(&policy.name);
                if policy.is_for_me() {
                    let says = format!("the row policy {name} hides rows from teal's user");
                    let fix = format!(
                        "exempt the user: ALTER ROW POLICY {} TO ALL EXCEPT …",
                        policy.sql()
                    );
                    self.found(blue, true, says, fix);
                }
                // A policy is of a name, and holds under no other one: not under an alias either (26.7).
                let alias = (migration.cutover == Cutover::Alias).then(|| migration.logical_name());
                for other in std::iter::once(&migration.green).chain(&alias) {
                    if of(other).iter().any(|there| there.name == policy.name) {
                        continue;
                    }
                    let says = format!(
                        "the row policy {name} is on {blue}; readers of {other} would see all rows"
                    );
                    let fix =
                        format!("CREATE ROW POLICY {name} ON {} as it is on {blue}", other.sql());
                    // Where the names change places, nobody need know this one.
                    self.found(blue, migration.cutover != Cutover::Exchange, says, fix);
                }
            }
        }
        Ok(())
    }
}
