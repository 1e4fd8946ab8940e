use teal_schema::{LifeCycle, Table, View, create_table_as, quote_ident};

use super::ModelFile;

pub(super) fn table(table: &Table) -> ModelFile {
    let physical = table.physical_name();
    let mut words = Vec::new();
    if let Some(version) = &table.version {
        words.push(format!("table {} version {version}", table.name));
    }
    words.extend(life_cycle(table.life_cycle));
    let cluster = table.cluster.as_ref().map(|name| format!(" ON CLUSTER {}", quote_ident(name)));
    let name = qualified(table.database.as_deref(), &physical) + &cluster.unwrap_or_default();
    let statement = create_table_as(table, &name, &[]);
    file("tables", &physical, &words, &statement)
}

pub(super) fn view(view: &View) -> ModelFile {
    let name = qualified(view.database.as_deref(), &view.name);
    let statement = match &view.target {
        Some(target) => format!(
            "CREATE MATERIALIZED VIEW {name} TO {} AS\n{}",
            qualified(target.database.as_deref(), &target.physical_name()),
            view.select
        ),
        None => format!("CREATE VIEW {name} AS\n{}", view.select),
    };
    let words = life_cycle(view.life_cycle).into_iter().collect::<Vec<_>>();
    file("views", &view.name, &words, &statement)
}

fn file(folder: &str, name: &str, words: &[String], statement: &str) -> ModelFile {
    let directive = match words.is_empty() {
        true => String::new(),
        false => format!("-- teal: {}\n", words.join(" ")),
    };
    let path = format!("{folder}/{}.sql", super::names::snake(name));
    ModelFile { path, of: name.to_owned(), text: format!("{directive}{statement};\n") }
}

fn life_cycle(life_cycle: LifeCycle) -> Option<String> {
    match life_cycle {
        LifeCycle::FullyManaged => None,
        LifeCycle::DeletionProtected => Some("lifecycle deletion_protected".to_owned()),
        LifeCycle::ExternallyManaged => Some("lifecycle externally_managed".to_owned()),
    }
}

fn qualified(database: Option<&str>, name: &str) -> String {
    match database {
        Some(database) => format!("{}.{}", quote_ident(database), quote_ident(name)),
        None => quote_ident(name),
    }
}
