//! What only SQL models can say.

use crate::support::Project;

fn assert_settled(project: &Project) {
    let plan = project.teal(&["plan", "--check"]);
    assert_eq!(plan.code, Some(0), "{}", plan.said());
}

/// The embedded engine has no RabbitMQ, and would say so.
#[test]
fn a_table_that_acts_when_it_is_made_is_not_made_to_read_its_model() {
    const RABBIT: &str = "-- teal: lifecycle externally_managed
CREATE TABLE rabbit (id UInt64) ENGINE = RabbitMQ
SETTINGS rabbitmq_host_port = 'a:1', rabbitmq_exchange_name = 'e', rabbitmq_format = 'CSV', rabbitmq_password = 'hunter2';
";
    const KAFKA: &str = "CREATE TABLE kafka (id UInt64, town String)
ENGINE = Kafka('127.0.0.1:1', 'topic', 'group', 'CSV') SETTINGS kafka_num_consumers = 1 COMMENT 'queue';
";
    const VIEW: &str =
        "CREATE TABLE events (id UInt64, town String) ENGINE = MergeTree ORDER BY id;
CREATE MATERIALIZED VIEW mv TO events AS SELECT id, town FROM kafka;
";
    let project = Project::new(&[("app/a.sql", RABBIT), ("app/b.sql", KAFKA), ("app/c.sql", VIEW)]);
    let plan = project.must(&["plan"]).said();
    assert!(plan.contains("default.rabbit is managed elsewhere"), "{plan}");
    assert!(!plan.contains("hunter2"), "{plan}");
    project.must(&["apply"]);
    assert_eq!(
        project.query("SELECT engine_full, comment FROM system.tables WHERE name = 'kafka'"),
        r"Kafka(\'127.0.0.1:1\', \'topic\', \'group\', \'CSV\') SETTINGS kafka_num_consumers = 1	queue"
    );
    assert_settled(&project);

    for (from, to, line, says) in [
        ("= 1 COMMENT", "= 1, kafka_sasl_password = 'hunter2' COMMENT", 1, "holds a secret"),
        ("SETTINGS", "SETTINGZ", 2, "Syntax error"),
    ] {
        project.write("app/b.sql", &KAFKA.replace(from, to));
        let run = project.teal(&["plan"]);
        run.failed(1, &[&format!("app/b.sql:{line}"), says]);
        assert!(!run.said().contains("hunter2"), "{}", run.said());
    }
}

#[test]
fn a_table_has_its_columns_of_another_model() {
    const EVENTS: &str =
        "CREATE TABLE events (id UInt64, town String) ENGINE = MergeTree ORDER BY id;\n";
    const LIKE: &str =
        "CREATE TABLE all_of_them AS default.chunks ENGINE = Merge('default', '^events');
CREATE TABLE chunks AS events ENGINE = Null;
CREATE TABLE more AS events;
";
    let project = Project::new(&[("app/events.sql", EVENTS), ("app/a.sql", LIKE)]);
    let settle = |columns: &str| {
        project.must(&["apply"]);
        assert_settled(&project);
        let there = "SELECT DISTINCT groupArray(name) OVER (PARTITION BY table) FROM system.columns WHERE database = 'default'";
        assert_eq!(project.query(there), columns);
    };
    settle("['id','town']");
    // What is on the target is not meant.
    project.query("DROP TABLE all_of_them");
    project.query("DROP TABLE chunks");
    project.write("app/events.sql", &EVENTS.replace(")", ", more UInt8)"));
    settle("['id','town','more']");

    project.write(
        "app/queue.sql",
        "CREATE TABLE q (id UInt8) ENGINE = Kafka('a:1', 't', 'g', 'CSV');",
    );
    project.write("app/a.sql", "CREATE TABLE queue AS q;");
    project
        .teal(&["plan"])
        .failed(1, &["app/a.sql:1", "columns and engine of q", "give its engine"]);
}

#[test]
fn a_key_may_stand_among_the_columns() {
    let project = Project::new(&[(
        "app/t.sql",
        "CREATE TABLE a (id UInt64, PRIMARY KEY (id)) ENGINE = MergeTree;\n\
         CREATE TABLE b (id UInt64 PRIMARY KEY, town String) ENGINE = MergeTree;",
    )]);
    project.must(&["apply"]);
    let keys = "SELECT DISTINCT sorting_key FROM system.tables WHERE database = 'default'";
    assert_eq!(project.query(keys), "id");
    assert_settled(&project);
}
