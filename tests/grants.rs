//! A right that teal's user loses in the midst of a migration on a server: the command says which it is,
//! nothing is lost, and the same command goes on when the right is given again. (What is lacking before
//! the migration begins, the plan finds: `preflight.rs`.)

use crate::server_migration::{REWRITTEN, ROWS, Stage, insert, insert_into};
use crate::servers::Modern;

/// A server whose rights can be taken from its user.
struct Guarded {
    stage: Stage,
    users: tempfile::TempDir,
}

impl Guarded {
    fn start() -> Self {
        let users = tempfile::tempdir().unwrap();
        let modern = Modern::start_with(&config(users.path(), None));
        Self { stage: Stage::new(modern, REWRITTEN), users }
    }

    /// Rows of the table are hidden from the user, who may not look by what.
    fn hiding(&mut self, table: &str, condition: &str) {
        let text = config(self.users.path(), Some("SHOW ROW POLICIES ON *.*"));
        let users = self.users.path().join("users.xml");
        let policy = format!(
            "<databases><default><{table}><filter>{condition}</filter></{table}></default></databases></default></users>"
        );
        let own = std::fs::read_to_string(&users).unwrap();
        std::fs::write(&users, own.replace("</default></users>", &policy)).unwrap();
        self.stage.modern.start_again_with(&text);
    }

    fn without(&mut self, right: Option<&str>) {
        self.stage.modern.start_again_with(&config(self.users.path(), right));
    }

    /// Runs the command without a right, which it must name, and then with it.
    fn refused_and_given(&mut self, right: &str, arguments: &[&str], named: &str) {
        self.without(Some(right));
        let run = self.stage.teal(arguments);
        let said = format!("{arguments:?} without {right}: {}", run.said());
        assert!(matches!(run.code, Some(1 | 3)), "{said}");
        assert!(run.stderr.contains(named), "{named:?}: {said}");
        assert!(!run.stderr.contains("panicked"), "{said}");
        self.without(None);
        self.stage.must(arguments);
    }
}

/// The server's user may do anything but this.
fn config(directory: &std::path::Path, lacking: Option<&str>) -> String {
    let revoked = lacking.map(|right| format!("<query>REVOKE {right}</query>"));
    let users = directory.join("users.xml");
    let text = format!(
        "<clickhouse><users><default><password/><profile>default</profile><quota>default</quota>\
             <networks><ip>::/0</ip></networks>\
             <grants><query>GRANT ALL ON *.*</query>{}</grants></default></users>\
         <profiles><default/></profiles><quotas><default/></quotas></clickhouse>",
        revoked.unwrap_or_default()
    );
    std::fs::write(&users, text).unwrap();
    let log =
        |name: &str| format!("<{name}><database>system</database><table>{name}</table></{name}>");
    format!(
        "<clickhouse><users_config>{}</users_config>{}{}</clickhouse>",
        users.display(),
        log("query_log"),
        log("part_log")
    )
}

const APPLY: &[&str] = &["apply", "--chunk-rows", "10000"];

#[test]
fn a_right_that_is_lost_in_any_phase_is_named_and_the_command_goes_on_with_it() {
    let mut guarded = Guarded::start();
    let mut rows = ROWS;
    // Where teal is killed; what it lacks then; the right's name in what it says.
    for (step, right, named) in [
        ("started", "CREATE TABLE ON default.*", "CREATE TABLE"),
        // The right to make a table is one to make a view.
        ("prepared", "CREATE TABLE, CREATE VIEW ON default.*", "CREATE VIEW"),
        ("prepared", "SYSTEM MERGES ON *.*", "SYSTEM MERGES"),
        ("view-created", "DROP TABLE, DROP VIEW ON default.*", "DROP VIEW"),
        ("attached", "INSERT ON default.events_1", "INSERT"),
        ("attached", "INSERT ON _teal.*", "INSERT"),
        ("chunk-copied", "ALTER TABLE ON default.*", "ALTER"),
        ("backfilled", "CREATE TABLE ON _teal.*", "CREATE TABLE"),
    ] {
        guarded.stage.killed_at(&format!("{step}=return"), APPLY);
        guarded.stage.query(&insert(rows * 10, 1_000, 0));
        guarded.refused_and_given(right, APPLY, named);
        rows += 1_000;
        guarded.stage.assert_exact(rows, &format!("{right}, after {step}"));
        guarded.stage.must(&["abort"]);
        assert_eq!(guarded.stage.query("SHOW TABLES"), "events");
    }
}

/// By a row policy, rows of the old table that are there look as if somebody had deleted them.
#[test]
fn rows_that_are_hidden_are_not_taken_for_deleted() {
    let mut guarded = Guarded::start();
    guarded.stage.must(APPLY);
    guarded.stage.query("ALTER TABLE events DELETE WHERE id < 10 SETTINGS mutations_sync = 1");
    guarded.hiding("events", "id &lt; 1000");
    for command in ["verify", "repair", "cutover"] {
        guarded
            .stage
            .teal(&[command])
            .failed(3, &["row policy … ON `default`.`events` hides rows"]);
    }
    guarded.without(None);
    guarded.stage.must(&["repair"]);
    guarded.stage.assert_exact(ROWS - 10, "when nothing is hidden");
}

#[test]
fn a_right_that_is_lost_before_a_way_out_is_named_and_the_command_goes_on_with_it() {
    const EXCHANGE: &[&str] = &["cutover", "--by", "exchange"];
    let mut guarded = Guarded::start();
    guarded.stage.must(APPLY);
    guarded.refused_and_given("DROP TABLE, DROP VIEW ON default.*", &["abort"], "DROP");
    assert_eq!(guarded.stage.query("SHOW TABLES"), "events");

    guarded.stage.must(APPLY);
    let mut rows = ROWS;
    for (command, right, named) in [
        (EXCHANGE, "SYSTEM MERGES ON *.*", "SYSTEM"),
        (&["rollback"], "DROP TABLE ON default.*", "DROP TABLE"),
        (EXCHANGE, "CREATE TABLE, CREATE VIEW ON default.*", "CREATE"),
        (&["rollback"], "ALTER TABLE ON default.*", "ALTER"),
        (EXCHANGE, "INSERT ON _teal.*", "INSERT"),
    ] {
        guarded.refused_and_given(right, command, named);
        guarded.stage.query(&insert(rows * 10, 1_000, 0));
        rows += 1_000;
        guarded.stage.assert_exact(rows, &format!("{command:?} without {right}"));
    }
    guarded.refused_and_given(
        "DROP TABLE, DROP VIEW ON default.*",
        &["cleanup", "--force"],
        "DROP",
    );
    assert_eq!(guarded.stage.sorting_key("events"), "town, id");
    assert_eq!(guarded.stage.query("SELECT count() FROM events"), rows.to_string());
}

/// A policy that came since hides what one table alone has: without it, the two seem to be equal.
#[test]
fn rows_that_are_hidden_are_not_taken_for_no_rows_by_what_ends_a_migration() {
    const LATE: &str = "SELECT count() FROM events_1 WHERE id >= 5000000000";
    let mut guarded = Guarded::start();
    guarded.stage.must(APPLY);
    guarded.stage.must(&["cutover"]);
    guarded.stage.query(&insert_into("events_1", 5_000_000_000, 10, 0));
    guarded.hiding("events_1", "id &lt; 5000000000");
    let words = ["row policy … ON `default`.`events_1` hides rows"];
    for command in ["cutover", "rollback", "cleanup"] {
        guarded.stage.teal(&[command]).failed(3, &words);
    }
    guarded.without(None);
    guarded.stage.must(&["rollback"]);
    assert_eq!(guarded.stage.query(&LATE.replace("events_1", "events")), "10");
    // A writer that comes back later.
    guarded.stage.query(&insert_into("events_1", 5_000_000_010, 10, 0));
    guarded.hiding("events_1", "id &lt; 5000000000");
    for command in ["rollback", "abort"] {
        guarded.stage.teal(&[command]).failed(3, &words);
    }
    guarded.without(None);
    assert_eq!(guarded.stage.query(LATE), "20");
}
