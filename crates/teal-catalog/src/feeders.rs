use std::collections::BTreeSet;

use serde::Deserialize;
use teal_client::{ClientError, Session};
use teal_schema::{QualifiedName, call, quote_string, read_create, split_list, unquote_string};

/// What writes to a table without a client that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feeder {
    pub name: QualifiedName,
    pub kind: FeederKind,
    /// Where its rows come to the table: its own name, or that of an alias.
    pub into: QualifiedName,
    /// What they go through before that, in this order.
    pub by: Vec<QualifiedName>,
    /// Bytes that it holds in memory.
    pub held: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeederKind {
    /// Flushes what it holds, whenever it wants.
    Buffer,
    /// Sends what it gets on, to this server too.
    Distributed,
    /// Is consumed, by views.
    Queue,
    /// A view that runs by the clock. It puts its rows in the place of all others, or beside them.
    Refreshed { appends: bool },
    /// A view that INSERTs into another table fire.
    View,
}

impl Feeder {
    /// It writes when nobody's statement runs.
    pub fn is_in_background(&self) -> bool {
        matches!(self.kind, FeederKind::Buffer | FeederKind::Queue | FeederKind::Refreshed { .. })
    }

    /// As a person is told of it.
    pub fn told(&self) -> String {
        let kind = match self.kind {
            FeederKind::Buffer => "Buffer",
            FeederKind::Distributed => "Distributed",
            FeederKind::Queue => "a queue",
            FeederKind::Refreshed { .. } => "a refreshable view",
            FeederKind::View => "a view",
        };
        match self.by.as_slice() {
            [] => format!("{} ({kind})", self.name),
            by => {
                let by = by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                format!("{} ({kind}, by {by})", self.name)
            }
        }
    }
}

/// Tables that are consumed in the background.
const QUEUES: [&str; 6] = ["Kafka", "RabbitMQ", "NATS", "FileLog", "S3Queue", "AzureQueue"];

#[derive(Deserialize)]
struct Row {
    database: String,
    name: String,
    engine: String,
    engine_full: String,
    create_table_query: String,
    data: String,
    held: u64,
    fires_databases: Vec<String>,
    fires_tables: Vec<String>,
}

impl Row {
    fn qualified(&self) -> QualifiedName {
        QualifiedName::new(&self.database, &self.name)
    }

    fn fires(&self, view: &QualifiedName) -> bool {
        let mut fired = self.fires_databases.iter().zip(&self.fires_tables);
        fired.any(|(database, name)| *database == view.database && *name == view.name)
    }

    /// The table that it writes to.
    fn target(&self) -> Option<QualifiedName> {
        let (database, name) = match self.engine.as_str() {
            // Buffer('database', 'table', …), Distributed('cluster', 'database', 'table', …)
            "Buffer" => (self.argument(0)?, self.argument(1)?),
            "Distributed" => (self.argument(1)?, self.argument(2)?),
            "MaterializedView" => {
                let (database, name) = read_create(&self.create_table_query).ok()??.target?;
                (database.unwrap_or_else(|| self.database.clone()), name)
            }
            _ => return None,
        };
        Some(QualifiedName::new(database, name))
    }

    fn argument(&self, at: usize) -> Option<String> {
        let (_, inside) = call(&self.engine_full).ok()?;
        unquote_string(split_list(inside?).ok()?.get(at)?)
    }

    fn kind(&self) -> FeederKind {
        match self.engine.as_str() {
            "Buffer" => FeederKind::Buffer,
            "Distributed" => FeederKind::Distributed,
            "MaterializedView" => match read_create(&self.create_table_query) {
                Ok(Some(create)) if create.is_refreshed => FeederKind::Refreshed {
                    appends: create
                        .others
                        .iter()
                        .any(|it| it.split_whitespace().any(|word| word == "APPEND")),
                },
                _ => FeederKind::View,
            },
            _ => FeederKind::Queue,
        }
    }
}

/// What writes to `table`, or to an alias of it, in whatever database: at once, or by way of others. What the view
/// `but` brings is left out.
///
/// # Errors
/// When the server cannot be asked.
pub fn feeders(
    session: &mut dyn Session,
    table: &QualifiedName,
    but: Option<&QualifiedName>,
) -> Result<Vec<Feeder>, ClientError> {
    let queues = QUEUES.map(quote_string).join(", ");
    let mut rows = session.rows::<Row>(&format!(
        "SELECT database, name, engine, engine_full, create_table_query, \
             arrayElement(data_paths, 1) AS data, \
             if(engine = 'Buffer', ifNull(total_bytes, 0), 0) AS held, \
             dependencies_database AS fires_databases, dependencies_table AS fires_tables \
         FROM system.tables WHERE NOT startsWith(database, '_teal') AND (\
             engine IN ('Buffer', 'Distributed', 'MaterializedView', 'Alias', {queues}) \
             OR notEmpty(dependencies_table) OR {}) ORDER BY database, name",
        table.condition("name")
    ))?;
    rows.retain(|row| Some(&row.qualified()) != but);
    let data = rows.iter().find(|row| row.qualified() == *table).map(|row| row.data.clone());
    let is_alias = |row: &&Row| row.engine == "Alias" && Some(&row.data) == data.as_ref();
    let names = rows.iter().filter(is_alias).map(Row::qualified);
    let mut fed = names.chain([table.clone()]).map(|into| (into.clone(), into, Vec::new()));
    let mut fed = fed.by_ref().collect::<Vec<_>>();
    let mut seen = BTreeSet::new();
    let mut feeders = Vec::new();
    while let Some((target, into, by)) = fed.pop() {
        let is_queue =
            |row: &&Row| row.qualified() == target && QUEUES.contains(&row.engine.as_str());
        let writes = |row: &&Row| row.target().as_ref() == Some(&target);
        for row in rows.iter().filter(|row| is_queue(row) || writes(row)) {
            if !seen.insert(row.qualified()) || !comes_here(session, row)? {
                continue;
            }
            let (name, kind) = (row.qualified(), row.kind());
            // What it puts in the place of another table's rows fires no view.
            if kind == (FeederKind::Refreshed { appends: false }) && !by.is_empty() {
                continue;
            }
            let through = [std::slice::from_ref(&name), &by].concat();
            match kind {
                // Of a view, what is written to the table that fires it.
                FeederKind::View => {
                    let fires = rows.iter().filter(|row| row.fires(&name));
                    fed.extend(fires.map(|row| (row.qualified(), into.clone(), through.clone())));
                }
                FeederKind::Buffer | FeederKind::Distributed => {
                    fed.push((name.clone(), into.clone(), through));
                }
                FeederKind::Queue | FeederKind::Refreshed { .. } => (),
            }
            feeders.push(Feeder { name, kind, into: into.clone(), by: by.clone(), held: row.held });
        }
    }
    Ok(feeders)
}

/// A Distributed table may write to other servers only.
fn comes_here(session: &mut dyn Session, row: &Row) -> Result<bool, ClientError> {
    #[derive(Deserialize)]
    struct Servers {
        known: u64,
        here: u64,
    }
    let Some(cluster) = row.argument(0).filter(|_| row.engine == "Distributed") else {
        return Ok(true);
    };
    let servers: Servers = session.row(&format!(
        "SELECT count() AS known, countIf(is_local) AS here FROM system.clusters WHERE cluster = {}",
        quote_string(&cluster)
    ))?;
    // Where the name is one of a macro, it is not in the list.
    Ok(servers.known == 0 || servers.here > 0)
}
