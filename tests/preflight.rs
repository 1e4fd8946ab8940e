//! What a plan would meet on its target is found before anything is done, with what to do about it.

use crate::servers::Modern;
use crate::support::{Project, Run};

const EVENTS: &str =
    "CREATE TABLE events (id UInt64, town String, at DateTime) ENGINE = MergeTree ORDER BY id;\n";
/// Migrates in place, by an exchange.
const REORDERED: &str = "CREATE TABLE events (id UInt64, town String, at DateTime) ENGINE = MergeTree ORDER BY (town, id);\n";
/// Migrates by a version and a view; readers move by their code.
const VERSIONED: &str = "CREATE TABLE events (id UInt64, town String, at DateTime) ENGINE = MergeTree ORDER BY id;\n\
     -- teal: table events version 1\n\
     CREATE TABLE events_1 (id UInt64, town String, at DateTime) ENGINE = MergeTree ORDER BY (town, id);\n\
     CREATE MATERIALIZED VIEW mv_events TO events_1 AS SELECT * FROM events;\n";

fn filled(after: &str) -> Project {
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    project.must(&["apply"]);
    project.query("INSERT INTO events SELECT number, toString(number), now() FROM numbers(1000)");
    project.write("app/events.sql", after);
    project
}

/// teal on an engine with this configuration, users and elements of its own user.
pub(crate) fn with_config(
    project: &Project,
    server: &str,
    users: &str,
    own: &str,
    arguments: &[&str],
) -> Run {
    let path = |name: &str| project.path().join(name).display().to_string();
    let common = "<password/><profile>default</profile><quota>default</quota><networks><ip>::/0</ip></networks>";
    project.write(
        "users.xml",
        &format!(
            "<clickhouse><users><default>{common}{own}</default>{}</users>\
             <profiles><default/></profiles><quotas><default/></quotas></clickhouse>",
            users.replace("COMMON", common)
        ),
    );
    project.write(
        "config.xml",
        &format!(
            "<clickhouse><users_config>{}</users_config>{server}</clickhouse>",
            path("users.xml")
        ),
    );
    let config = path("config.xml");
    project.teal(&[&["--engine-config", &config], arguments].concat())
}

/// teal on an engine whose user has these rights.
fn as_user(project: &Project, rights: &[&str], arguments: &[&str]) -> Run {
    let grants = rights.iter().map(|right| format!("<query>GRANT {right}</query>"));
    let own = format!("<grants>{}</grants>", grants.collect::<String>());
    with_config(project, "", "", &own, arguments)
}

/// As `teal doctor` names them; the engine of a table is a right of its own.
const RIGHTS: &[&str] = &[
    "TABLE ENGINE ON *",
    "SELECT ON system.*",
    "SYSTEM FLUSH LOGS ON *.*",
    "SELECT, INSERT, CREATE TABLE, DROP TABLE, ALTER TABLE, TRUNCATE, CREATE VIEW, DROP VIEW, CREATE DATABASE, DROP DATABASE ON _teal*.*",
    "SELECT, INSERT, CREATE TABLE, DROP TABLE, TRUNCATE, SYSTEM MERGES, CREATE VIEW, DROP VIEW, ALTER VIEW ON default.*",
    "ALTER TABLE ON default.*",
];

#[test]
fn a_right_that_is_missing_is_found_with_its_grant() {
    let project = filled(REORDERED);
    let (_, without) = RIGHTS.split_last().unwrap();
    as_user(&project, without, &["apply"]).failed(
        3,
        &[
            "blocked: default.events: teal's user lacks ALTER TABLE",
            "GRANT ALTER TABLE ON `default`.`events` TO",
        ],
    );
    let doctor = as_user(&project, without, &["doctor"]);
    assert_eq!(doctor.code, Some(1), "{}", doctor.said());
    let grant = "GRANT ALTER TABLE ON `default`.* TO `default`;";
    assert!(doctor.stdout.contains(grant), "{}", doctor.said());
}

#[test]
fn the_rights_that_doctor_names_are_enough() {
    let project = filled(REORDERED);
    for command in ["doctor", "plan", "apply", "status", "verify", "cutover", "cleanup"] {
        let run = as_user(&project, RIGHTS, &[command]);
        assert_eq!(run.code, Some(0), "{command}: {}", run.said());
    }
    let sorted = "SELECT sorting_key FROM system.tables WHERE name = 'events'";
    assert_eq!(project.query(sorted), "town, id");
}

#[test]
fn a_row_policy_is_found_whether_it_is_for_teal_or_for_others() {
    const MANAGER: &str = "<access_management>1</access_management>";
    const FEW: &str =
        "<databases><default><events><filter>id &lt; 5</filter></events></default></databases>";
    let project = filled(REORDERED);
    let for_teal =
        |arguments: &[&str]| with_config(&project, "", "", &format!("{MANAGER}{FEW}"), arguments);
    for_teal(&["apply"]).failed(3, &["hides rows from teal's user", "TO ALL EXCEPT"]);
    // A policy for others stays with the name: after an exchange it is on the new layout, and another
    // name has none.
    let for_others = |arguments: &[&str]| {
        with_config(&project, "", &format!("<ana>COMMON{FEW}</ana>"), MANAGER, arguments)
    };
    project.write("app/events.sql", VERSIONED);
    let file = project.path().join("plan.yaml").display().to_string();
    project.must(&["plan", "--save", &file]);
    for_others(&["apply", "--plan", &file])
        .failed(3, &["readers of default.events_1 would see all rows"]);
    for_others(&["apply"]).failed(3, &["readers of default.events_1 would see all rows"]);
    project.write("app/events.sql", REORDERED);
    let applied = for_others(&["apply"]);
    assert_eq!(applied.code, Some(0), "{}", applied.said());
    // One that came since hides rows of both tables, and so from the comparison.
    const ALL: &str = "<databases><default><table name=\"\"><filter>id &lt; 5</filter></table></default></databases>";
    let hides = ["hides rows from teal's user", "`default` ON `default`.* TO ALL EXCEPT"];
    let for_teal =
        |arguments: &[&str]| with_config(&project, "", "", &format!("{MANAGER}{ALL}"), arguments);
    for_teal(&["verify"]).failed(3, &hides);
    project.must(&["abort"]);
    for_teal(&["apply"]).failed(3, &hides);
    // The new table is in the same database.
    project.write("app/events.sql", VERSIONED);
    let applied =
        with_config(&project, "", &format!("<ana>COMMON{ALL}</ana>"), MANAGER, &["apply"]);
    assert_eq!(applied.code, Some(0), "{}", applied.said());
}

/// Under its new name the table would be open to all who may read its database.
#[test]
fn a_table_with_a_row_policy_is_parked_where_it_has_one_too() {
    let policies = |tables: &[&str]| {
        let of = |table: &&str| format!("<{table}><filter>id &lt; 5</filter></{table}>");
        let all = tables.iter().map(of).collect::<String>();
        format!("<ana>COMMON<databases><default>{all}</default></databases></ana>")
    };
    let project = filled(VERSIONED);
    project.must(&["apply"]);
    project.must(&["cutover"]);
    let place = project.query(
        "SELECT concat('events_drop_', formatDateTime(now('UTC') + INTERVAL 7 DAY, '%Y%m%d'))",
    );
    let park = |tables: &[&str]| {
        let own = "<access_management>1</access_management>";
        with_config(&project, "", &policies(tables), own, &["cleanup", "--park", "7d"])
    };
    let says = format!("readers of default.{place} would see all rows");
    park(&["events"]).failed(3, &[&says, "CREATE ROW POLICY"]);
    let parked = park(&["events", &place]);
    assert_eq!(parked.code, Some(0), "{}", parked.said());
    assert_eq!(project.query("SHOW TABLES"), format!("events_1\n{place}"));
}

#[test]
fn a_new_name_that_users_may_not_read_is_told() {
    let project = filled(VERSIONED);
    let ana = "<ana>COMMON<grants><query>GRANT SELECT ON default.events</query></grants></ana>";
    let own = "<access_management>1</access_management>";
    let plan = with_config(&project, "", ana, own, &["plan"]).stdout;
    for words in ["ana has SELECT on it", "GRANT SELECT ON `default`.`events_1` TO `ana`"] {
        assert!(plan.contains(words), "{words}: {plan}");
    }
}

/// Its copy would be on this server only.
#[test]
fn a_new_version_of_a_replicated_engine_is_refused() {
    let replicated = VERSIONED.replace(
        "MergeTree ORDER BY (town, id)",
        "ReplicatedMergeTree('/events_1', 'one') ORDER BY (town, id)",
    );
    let project = filled(&replicated);
    let says = "blocked: default.events_1: teal is not proven on tables of ReplicatedMergeTree";
    project.teal(&["apply"]).failed(3, &[says]);
}

/// Else the plan would say that it stays, and the cleanup would drop it.
#[test]
fn a_column_that_no_model_knows_is_not_lost_with_the_old_table() {
    let project = filled(&VERSIONED.replace("SELECT *", "SELECT id, town, at"));
    project.query("ALTER TABLE events ADD COLUMN note String DEFAULT 'n', ADD COLUMN twice UInt64 ALIAS id * 2");
    let says = ["column note is in no model", "--allow-drop events.COLUMN"];
    project.teal(&["apply"]).failed(3, &says);
    // It may go, before the migration.
    let plan = project.must(&["plan", "--allow-drop", "events.*"]).stdout;
    assert!(plan.contains("column note: String DEFAULT 'n' → none"), "{plan}");
    assert!(!plan.contains("conflict"), "{plan}");
    let known = VERSIONED.replace("at DateTime)", "at DateTime, note String DEFAULT 'n')");
    project.write("app/events.sql", &known);
    project.must(&["apply"]);
    assert_eq!(project.query("SELECT countIf(note = 'n') FROM events_1"), "1000");
}

#[test]
fn a_new_version_that_computes_a_column_brings_the_old_values_elsewhere_or_is_refused() {
    let with = |columns: &str, select: &str| {
        VERSIONED
            .replace("events_1 (id UInt64, town String", &format!("events_1 (id UInt64, {columns}"))
            .replace("ORDER BY (town, id)", "ORDER BY id")
            .replace("SELECT *", &format!("SELECT {select}"))
    };
    let project = filled("");
    for kind in ["ALIAS toString(id)", "MATERIALIZED toString(id)", "EPHEMERAL"] {
        project.write("app/events.sql", &with(&format!("town String {kind}"), "id, at"));
        let words = ["the new version computes the column town", "would be lost"];
        project.teal(&["apply"]).failed(3, &words);
    }
    let brings = with("name String, town String ALIAS name", "id, town AS name, at");
    project.write("app/events.sql", &brings);
    project.must(&["plan"]);
}

/// The time of each INSERT, say: a rewrite would give all rows its own.
#[test]
fn what_would_be_computed_anew_and_is_another_value_then_is_not_lost() {
    let with = |sorted: &str, kind: &str| {
        format!(
            "CREATE TABLE events (id UInt64, town String, at DateTime, \
                 double UInt64 MATERIALIZED id * 2, came DateTime64(6) {kind} now64(6)) \
             ENGINE = MergeTree ORDER BY {sorted};\n"
        )
    };
    let project = Project::new(&[("app/events.sql", &with("id", "MATERIALIZED"))]);
    project.must(&["apply"]);
    project.query("INSERT INTO events SELECT number, toString(number), now() FROM numbers(1000)");
    let came = || project.query("SELECT any(came), uniqExact(came) FROM events");
    let first = came();
    project.write("app/events.sql", &with("(town, id)", "MATERIALIZED"));
    let words = ["blocked", "column came", "MATERIALIZED now64(6)", "make it a DEFAULT column"];
    let run = project.teal(&["apply"]);
    run.failed(3, &words);
    assert!(!run.said().contains("column double"), "{}", run.said());

    project.write("app/events.sql", &with("id", "DEFAULT"));
    project.must(&["apply"]);
    project.write("app/events.sql", &with("(town, id)", "DEFAULT"));
    project.must(&["apply"]);
    project.must(&["cutover"]);
    project.must(&["cleanup"]);
    assert_eq!(came(), first);
}

/// The parts of a clone keep their values; what the view forwards until the cutover is computed anew.
#[test]
fn a_clone_is_not_forwarded_to_with_values_of_its_own() {
    let with = |table: &str, kind: &str, comment: &str| {
        format!(
            "CREATE TABLE {table} (id UInt64, uid UUID {kind} generateUUIDv4()) ENGINE = MergeTree ORDER BY id COMMENT '{comment}';\n"
        )
    };
    let models = |kind: &str| {
        format!(
            "{}-- teal: table events version 1\n{}\
             CREATE MATERIALIZED VIEW mv_events TO events_1 AS SELECT * FROM events;\n",
            with("events", kind, "a"),
            with("events_1", kind, "b")
        )
    };
    let project = Project::new(&[("app/events.sql", &with("events", "MATERIALIZED", "a"))]);
    project.must(&["apply"]);
    project.query("INSERT INTO events SELECT number FROM numbers(10)");
    project.write("app/events.sql", &models("MATERIALIZED"));
    let words = [
        "blocked: default.events: column uid",
        "another value in default.events_1",
        "a DEFAULT column",
    ];
    project.teal(&["apply"]).failed(3, &words);
    project.write("app/events.sql", &with("events", "DEFAULT", "a"));
    project.must(&["apply"]);
    project.write("app/events.sql", &models("DEFAULT"));
    project.must(&["apply"]);
    project.query("INSERT INTO events (id) SELECT 10 + number FROM numbers(10)");
    let same = "SELECT count() FROM events AS a JOIN events_1 AS b USING (id, uid)";
    assert_eq!(project.query(same), "20");
}

/// Rows of before the column are in the first parts, and are computed at each read.
#[test]
fn what_only_later_parts_store_is_no_less_lost_by_a_rewrite() {
    let with = |came: &str, sorted: &str| {
        format!(
            "CREATE TABLE events (id UInt64, town String{came}) ENGINE = MergeTree ORDER BY {sorted};"
        )
    };
    let project = Project::new(&[("app/events.sql", &with("", "id"))]);
    project.must(&["apply"]);
    project.query("INSERT INTO events SELECT number, toString(number) FROM numbers(5000)");
    let came = ", came DateTime64(6) MATERIALIZED now64(6)";
    project.write("app/events.sql", &with(came, "id"));
    project.must(&["apply"]);
    project.write("app/events.sql", &with(came, "(town, id)"));
    let nothing_stored = ["column came: a row that comes before the cutover gets another value"];
    project.teal(&["apply"]).failed(3, &nothing_stored);
    project.query("INSERT INTO events SELECT number, toString(number) FROM numbers(10)");
    project
        .teal(&["apply"])
        .failed(3, &["column came", "(MATERIALIZED now64(6)), and what it has"]);
}

/// Its default is what such parts are read by, and gives another day in another time zone.
#[test]
fn what_is_computed_from_a_column_of_another_type_and_not_stored_is_told() {
    let with = |zone: &str, day: &str| {
        format!(
            "CREATE TABLE events (id UInt64, at DateTime('{zone}'), n UInt8{day}) ENGINE = MergeTree ORDER BY id;"
        )
    };
    let project = Project::new(&[("app/events.sql", &with("UTC", ""))]);
    project.must(&["apply"]);
    project.query("INSERT INTO events SELECT number, '2024-01-01 20:00:00', 1 FROM numbers(10)");
    // Neither these nor a part of an update have rows that would be other ones.
    project.query("DELETE FROM events WHERE id = 3");
    let day = ", day Date DEFAULT toDate(at), twice UInt16 DEFAULT n * 2, one String MATERIALIZED '1', two String DEFAULT concat(one, toString(n))";
    project.write("app/events.sql", &with("UTC", day));
    project.must(&["apply"]);
    project.write("app/events.sql", &with("Asia/Tokyo", day).replace("n UInt8", "n UInt16"));
    let run = project.teal(&["apply"]);
    run.failed(
        3,
        &["blocked", "column day", "9 rows would have another value", "MATERIALIZE COLUMN `day`"],
    );
    assert!(!run.said().contains("column tw"), "{}", run.said());
    project.query("ALTER TABLE events MATERIALIZE COLUMN day SETTINGS mutations_sync = 1");
    project.must(&["apply"]);
    assert_eq!(project.query("SELECT any(day) FROM events"), "2024-01-01");
}

/// Those of before an ALTER of the expression, say, which changes none.
#[test]
fn stored_values_that_a_rewrite_computes_anew_are_counted() {
    let with = |device: &str, sorted: &str| {
        format!(
            "CREATE TABLE events (id UInt64, device String MATERIALIZED {device}) ENGINE = MergeTree ORDER BY {sorted};"
        )
    };
    let (phone, ios) = ("if(id < 10, 'phone', 'other')", "if(id < 10, 'ios', 'other')");
    let project = Project::new(&[("app/events.sql", &with(phone, "id"))]);
    project.must(&["apply"]);
    project.query("INSERT INTO events SELECT number FROM numbers(100)");
    let told = |plan: &str| {
        let says = "column device: the rewrite computes it anew (MATERIALIZED if(id < 10, 'ios', 'other')); 10 of 100 rows have another value stored";
        assert!(plan.contains(&format!("mind: default.events: {says}")), "{plan}");
    };
    project.write("app/events.sql", &with(phone, "(device, id)"));
    let plan = project.must(&["plan"]).stdout;
    assert!(!plan.contains("computes it anew"), "{plan}");
    project.write("app/events.sql", &with(ios, "(device, id)"));
    told(&project.must(&["plan"]).stdout);
    project.write("app/events.sql", &with(ios, "id"));
    project.must(&["apply"]);
    project.write("app/events.sql", &with(ios, "(device, id)"));
    told(&project.must(&["plan"]).stdout);
}

#[test]
fn a_table_that_leaves_out_what_is_sent_again_is_told() {
    let window = "SETTINGS non_replicated_deduplication_window = 100";
    let with = |of: &str, add: &str| of.replace(";\n", &format!(" {add};\n"));
    let project = Project::new(&[("app/events.sql", &with(EVENTS, window))]);
    project.must(&["apply"]);
    project.query("INSERT INTO events SELECT number, toString(number), now() FROM numbers(1000)");
    project.write("app/events.sql", &with(REORDERED, window));
    let said = project.must(&["plan"]).stdout;
    let told = "leaves out INSERTs that are sent again (non_replicated_deduplication_window = 100)";
    assert!(said.contains(told), "{said}");
    assert!(!said.contains("has no such window"), "{said}");
    project.write("app/events.sql", REORDERED);
    let said = project.must(&["plan"]).stdout;
    assert!(said.contains("which has no such window"), "{said}");
}

#[test]
fn rows_that_the_ttl_of_a_new_version_deletes_are_counted() {
    let project = filled(
        &VERSIONED.replace("ORDER BY (town, id)", "ORDER BY (town, id) TTL at + INTERVAL 90 YEAR"),
    );
    let said = project.must(&["plan"]).stdout;
    assert!(said.contains("the TTL deletes 1000 of 1000 rows"), "{said}");
    let folding = VERSIONED.replace(
        "= MergeTree ORDER BY (town, id)",
        "= ReplacingMergeTree(at) ORDER BY (town, id) TTL at + INTERVAL 1 YEAR",
    );
    project.write("app/events.sql", &folding);
    let said = project.must(&["plan"]).stdout;
    assert!(said.contains("a TTL deletes rows, and the new engine folds rows"), "{said}");
}

#[test]
fn a_mutation_in_progress_is_found() {
    let project = filled(REORDERED);
    project.query("ALTER TABLE events UPDATE town = toString(throwIf(id = 7, 'broken')) WHERE 1 SETTINGS mutations_sync = 0");
    project.teal(&["apply"]).failed(
        3,
        &[
            "blocked: default.events: the mutation",
            "in progress",
            "KILL MUTATION WHERE database = 'default'",
        ],
    );
    // Parts would go through both.
    project.write("app/events.sql", &EVENTS.replace("town String", "town LowCardinality(String)"));
    project.teal(&["apply"]).failed(3, &["blocked: default.events: the mutation", "and fails"]);
    project.write("app/events.sql", REORDERED);
    project.query("KILL MUTATION WHERE table = 'events' SYNC");
    project.must(&["apply"]);
}

#[test]
fn a_disk_that_is_too_small_is_found() {
    let project = filled(REORDERED);
    let free = project.query("SELECT free_space FROM system.disks").parse::<u64>().unwrap();
    let full = format!(
        "<storage_configuration><disks><default><keep_free_space_bytes>{}</keep_free_space_bytes></default></disks></storage_configuration>",
        free * 2
    );
    let file = project.path().join("plan.yaml").display().to_string();
    project.must(&["plan", "--save", &file]);
    for apply in [&["apply"][..], &["apply", "--plan", &file]] {
        let run = with_config(&project, &full, "", "", apply);
        run.failed(3, &["blocked: default.events: the storage policy default has 0 bytes free"]);
    }
}

#[test]
fn a_disk_is_looked_at_where_the_copy_goes_to() {
    let moved = REORDERED.replace(";\n", " SETTINGS storage_policy = 'p2';\n");
    let project = filled(&moved);
    let other = project.path().join("other");
    let free = project.query("SELECT free_space FROM system.disks").parse::<u64>().unwrap();
    let plan = |of_default: u64, of_other: u64| {
        let keep = |bytes| format!("<keep_free_space_bytes>{bytes}</keep_free_space_bytes>");
        let storage = format!(
            "<storage_configuration><disks><default>{}</default><other><path>{}/</path>{}</other></disks>\
             <policies><p2><volumes><main><disk>other</disk></main></volumes></p2></policies></storage_configuration>",
            keep(of_default),
            other.display(),
            keep(of_other)
        );
        with_config(&project, &storage, "", "", &["plan"])
    };
    let from_full = plan(free * 2, 0);
    assert_eq!(from_full.code, Some(0), "{}", from_full.said());
    assert!(!from_full.stdout.contains("blocked"), "{}", from_full.said());
    let to_full = plan(0, free * 2);
    let says = "blocked: default.events: the storage policy p2 has 0 bytes free";
    assert!(to_full.stdout.contains(says), "{}", to_full.said());
}

/// The server hides what it is made of.
#[test]
fn a_table_may_define_its_disk() {
    let project = Project::new(&[]);
    let base = format!("{}/disks/", project.path().display());
    let model = format!(
        "from pydantic import BaseModel\nfrom teal import OlapConfig, OlapTable\n\
         class Row(BaseModel):\n    id: int\n\
         t = OlapTable[Row](\"t\", config=OlapConfig(order_by_fields=[\"id\"], settings={{\"disk\": \"disk(type = local, path = '{base}own/')\"}}))\n"
    );
    project.write("app/t.py", &model);
    let config =
        format!("<custom_local_disks_base_directory>{base}</custom_local_disks_base_directory>");
    for arguments in [&["apply"][..], &["plan", "--check"]] {
        let run = with_config(&project, &config, "", "", arguments);
        assert_eq!(run.code, Some(0), "{}", run.said());
    }
}

#[test]
fn more_partitions_than_an_insert_may_touch_are_told() {
    let project = filled(&EVENTS.replace("ORDER BY", "PARTITION BY intDiv(id, 2) ORDER BY"));
    let said = project.must(&["plan"]).stdout;
    assert!(said.contains("mind: default.events"), "{said}");
    assert!(said.contains("has about 500 partitions by (intDiv(id, 2))"), "{said}");
    assert!(said.contains("more than 100 at once"), "{said}");
}

/// Of a text, say, there is no month.
#[test]
fn the_new_versions_keys_are_computed_from_its_own_types() {
    let models = VERSIONED
        .replace("events (id UInt64, town String, at DateTime)", "events (id UInt64, at String)")
        .replace(
            "events_1 (id UInt64, town String, at DateTime)",
            "events_1 (id UInt64, at DateTime)",
        )
        .replace(
            "MergeTree ORDER BY (town, id)",
            "ReplacingMergeTree(at) PARTITION BY toYYYYMM(at) ORDER BY (toDate(at), id)",
        );
    let (blue, _) = models.split_once('\n').unwrap();
    let project = Project::new(&[("app/events.sql", blue)]);
    project.must(&["apply"]);
    let insert = |texts: &str| {
        project.query(&format!("INSERT INTO events SELECT number, {texts} FROM numbers(200)"));
    };
    insert("toString(toDateTime('2000-01-01 00:00:00', 'UTC') + INTERVAL number MONTH)");
    project.write("app/events.sql", &models);
    let said = project.must(&["plan"]).said();
    assert!(said.contains("has about 200 partitions by (toYYYYMM(at))"), "{said}");
    insert("'soon'");
    project.teal(&["apply"]).failed(3, &["column at: 200 of 400 rows have a value"]);
}

#[test]
fn a_server_where_teal_may_make_no_database_is_planned_with_the_engine() {
    let modern = Modern::start();
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    project.must(&["--url", &modern.url(), "apply"]);
    let insert = "INSERT INTO events SELECT number, 'x', now() FROM numbers(10)";
    project.must(&["--url", &modern.url(), "query", insert]);
    let kinds = |url: &str| {
        let plan = project.json::<serde_json::Value>(&["--url", url, "plan"]);
        let kinds = plan["operations"].as_array().unwrap().iter().map(|it| it["kind"].clone());
        kinds.collect::<Vec<_>>()
    };
    // Changes what is stored, a view on a table of no model, and nothing.
    let other = "CREATE TABLE other (id UInt64) ENGINE = MergeTree ORDER BY id";
    project.must(&["--url", &modern.url(), "query", other]);
    let view = "CREATE VIEW v AS SELECT id FROM other WHERE id IN (SELECT id FROM events);";
    let altered = EVENTS.replace("town String", "town String COMMENT 'where'");
    for models in [EVENTS.to_owned(), REORDERED.to_owned(), format!("{altered}{view}")] {
        project.write("app/events.sql", &models);
        let readonly = format!("{}?readonly=2", modern.url());
        assert_eq!(kinds(&readonly), kinds(&modern.url()), "{models}");
    }
    let pulled = format!("{}?readonly=2", modern.url());
    let pulled = project.must(&["--url", &pulled, "pull", "--lang", "sql", "--dry-run"]).stdout;
    assert!(pulled.contains("CREATE TABLE `other`") && !pulled.contains("events"), "{pulled}");
    let mut without = project.command(&["--url", &format!("{}?readonly=2", modern.url()), "plan"]);
    let run = Run::of(without.env("TEAL_LIBCHDB", "/nosuch/libchdb.so").output().unwrap());
    run.failed(1, &["lets teal make no scratch database", "GRANT CREATE DATABASE"]);
}

#[test]
fn a_server_says_who_used_the_table_and_what_it_lacks() {
    let modern = Modern::start();
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    let url = modern.url();
    project.must(&["--url", &url, "apply"]);
    for i in 0..3 {
        project.must(&[
            "--url",
            &url,
            "query",
            &format!("INSERT INTO events SELECT {i}, 'x', now()"),
        ]);
    }
    project.must(&["--url", &url, "query", "SELECT count() FROM events"]);
    project.must(&["--url", &url, "query", "SYSTEM FLUSH LOGS"]);
    project.write("app/events.sql", REORDERED);
    let said = project.must(&["--url", &url, "plan"]).stdout;
    assert!(said.contains("used in the last hour by default (1 SELECTs, 3 INSERTs)"), "{said}");
    let doctor = project.teal(&["--url", &url, "doctor"]);
    for words in
        ["good  connection", "good  grants", "query_log", "fence", "disk", "merges", "clock"]
    {
        assert!(doctor.stdout.contains(words), "{words}: {}", doctor.said());
    }
    // Its user, which is of a file, may not; the plan and the doctor say the same.
    let may_not_see = "teal may not see row policies";
    assert!(said.contains(may_not_see), "{said}");
    let asks = "GRANT SHOW ROW POLICIES ON *.* TO `default`;";
    for words in [may_not_see, asks] {
        assert!(doctor.stdout.contains(words), "{words}: {}", doctor.said());
    }
    assert_eq!(doctor.code, Some(0), "{}", doctor.said());
}

#[test]
fn a_server_without_part_log_says_which_fence_it_will_be_and_how_to_get_the_other() {
    let without = Modern::start_with("<clickhouse/>");
    let with = Modern::start();
    for (server, is_there) in [(&without, false), (&with, true)] {
        let project = Project::new(&[("app/events.sql", EVENTS)]);
        let url = server.url();
        project.must(&["--url", &url, "apply"]);
        project.must(&["--url", &url, "query", "INSERT INTO events VALUES (1, 'x', now())"]);
        project.must(&["--url", &url, "query", "SYSTEM FLUSH LOGS"]);
        // A plan without a migration takes no fence.
        let altered = EVENTS.replace("town String", "town String COMMENT 'where'");
        project.write("app/events.sql", &altered);
        let said = project.must(&["--url", &url, "plan"]).stdout;
        assert!(!said.contains("part_log"), "{said}");
        project.write("app/events.sql", REORDERED);
        let said = project.must(&["--url", &url, "plan"]).stdout;
        let fence = if is_there { "fence    part_log: " } else { "fence    quiet cut: " };
        assert!(said.contains(fence), "{said}");
        let doctor = project.teal(&["--url", &url, "doctor"]).stdout;
        for words in ["quiet cut", "put <part_log>"] {
            assert_eq!(said.contains(words), !is_there, "{words}: {said}");
            assert_eq!(doctor.contains(words), !is_there, "{words}: {doctor}");
        }
    }
}

/// teal makes no database, and a secret is not told by the server that keeps it.
#[test]
fn what_apply_would_stumble_over_is_told_by_the_plan() {
    let project = Project::new(&[("app/events.sql", EVENTS)]);
    let elsewhere = EVENTS.replace("events", "analytics.visits");
    project.write("app/visits.sql", &elsewhere);
    project
        .teal(&["apply"])
        .failed(3, &["database analytics is not there", "CREATE DATABASE `analytics`"]);
    assert_eq!(
        project
            .query("SELECT count() FROM system.tables WHERE database IN ('default', 'analytics')"),
        "0"
    );
    project.query("CREATE DATABASE analytics");
    project.must(&["apply"]);
    let secret =
        "CREATE TABLE pg (x Int8) ENGINE = PostgreSQL('127.0.0.1:1', 'db', 't', 'u', 'word');\n";
    project.write("app/pg.sql", secret);
    project
        .teal(&["apply"])
        .failed(1, &["app/pg.sql", "table pg holds a secret", "named collection"]);
    project.write("app/pg.sql", &format!("-- teal: lifecycle externally_managed\n{secret}"));
    let plan = project.teal(&["plan"]);
    assert!(!plan.said().contains("secret"), "{}", plan.said());
    project.remove("app/pg.sql");
    // The embedded engine is the only server there is.
    project.write("app/visits.sql", &elsewhere.replace(" (id", " ON CLUSTER many (id"));
    project.must(&["plan", "--check"]);
    project.query("DROP TABLE analytics.visits");
    let plan = project.must(&["plan"]).stdout;
    assert!(plan.contains("declared on the cluster many"), "{plan}");
}

/// What such a view would be without: a plain view, and the new version without the rows of the old one.
#[test]
fn a_view_that_reads_more_than_the_old_version_is_refused() {
    let towns = "CREATE TABLE towns (name String) ENGINE = MergeTree ORDER BY name;\n";
    let project = filled(VERSIONED);
    for select in [
        "SELECT e.id AS id, e.town AS town, e.at AS at FROM events AS e JOIN towns AS t ON e.town = t.name",
        "SELECT * FROM events WHERE town IN (SELECT name FROM towns)",
    ] {
        let models = VERSIONED.replace("SELECT * FROM events", select);
        project.write("app/events.sql", &format!("{towns}{models}"));
        let words =
            ["the migration by view mv_events is refused", "default.events and default.towns"];
        project.teal(&["plan"]).failed(3, &words);
    }
}

#[test]
fn a_new_version_without_the_rows_of_the_old_one_is_told() {
    let project = filled(VERSIONED);
    let declared = VERSIONED.split("CREATE MATERIALIZED VIEW").next().unwrap();
    // Whoever only writes a greater number into the model.
    let (_, alone) = declared.split_once(";\n").unwrap();
    project.write("app/events.sql", alone.trim_start());
    project.teal(&["apply"]).failed(
        3,
        &[
            "new version of default.events, whose 1000 rows would not be in it",
            "CREATE MATERIALIZED VIEW `mv_events_1` TO `events_1` AS SELECT * FROM `events`",
        ],
    );
    // Beside the old one it may be meant so.
    project.write("app/events.sql", declared);
    let said = project.must(&["plan"]).said();
    let words =
        "it begins empty: no view brings over the 1000 rows of its older version default.events";
    assert!(said.contains(words), "{said}");
    project.must(&["apply"]);
    // Until it has rows of its own, a view may still bring them.
    project.write("app/events.sql", VERSIONED);
    project.must(&["apply"]);
    assert_eq!(project.query("SELECT count() FROM events_1"), "1000");
}

#[test]
fn columns_that_the_new_version_leaves_behind_are_told() {
    let models = VERSIONED
        .replace(
            "events_1 (id UInt64, town String, at DateTime)",
            "events_1 (id UInt64, town String)",
        )
        .replace("SELECT * FROM", "SELECT id, town FROM");
    let project = filled(&models);
    let said = project.must(&["plan"]).said();
    assert!(said.contains("the SELECT of default.mv_events does not read at"), "{said}");
    project.write("app/events.sql", &format!("-- teal: lifecycle deletion_protected\n{models}"));
    project.teal(&["apply"]).failed(3, &["DELETION_PROTECTED", "does not read its column at"]);
    // Where it makes something of the values, they are not lost.
    project.write(
        "app/events.sql",
        &models.replace("SELECT id, town", "SELECT id, concat(town, toString(at)) AS town"),
    );
    let said = project.must(&["plan"]).said();
    assert!(!said.contains("does not read"), "{said}");
}
