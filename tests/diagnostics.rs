//! What is wrong in a model: each case in each language, with the file, the line, the declaration, what
//! is wrong and what to write instead.

use std::time::{Duration, Instant};

use crate::support::{Background, Project, until};

/// One mistake.
struct Case {
    what: &'static str,
    /// The declarations in each language, behind what all of them import; empty where the language
    /// cannot express it.
    typescript: &'static str,
    python: &'static str,
    sql: &'static str,
    /// Words of every language's message, and of the hint.
    says: &'static [&'static str],
}

const TYPESCRIPT: &str = "import { ClickHouseEngines, Key, MaterializedView, OlapTable, UInt64, sql } from \"teal-sdk\";\ninterface Row { id: string; at: Date; n: UInt64 }\n";
const PYTHON: &str = "from datetime import datetime\nfrom pydantic import BaseModel\nfrom teal import *\nclass Row(BaseModel):\n    id: str\n    at: datetime\n    n: UInt64\n";

const CASES: &[Case] = &[
    Case {
        what: "an unknown type",
        typescript: "interface Odd { id: string; odd: Map<string, string> }\nexport const t = new OlapTable<Odd>(\"t\", { orderByFields: [\"id\"] });",
        python: "class Odd(BaseModel):\n    id: str\n    odd: complex\n    model_config = {\"arbitrary_types_allowed\": True}\nt = OlapTable[Odd](\"t\", config=OlapConfig(order_by_fields=[\"id\"]))",
        sql: "CREATE TABLE t (id String, odd Strange) ENGINE = MergeTree ORDER BY id;",
        says: &["odd|Strange"],
    },
    Case {
        what: "a missing sorting key",
        typescript: "export const t = new OlapTable<Row>(\"t\");",
        python: "t = OlapTable[Row](\"t\")",
        sql: "CREATE TABLE t (id String) ENGINE = MergeTree;",
        says: &["sorting key|ORDER BY", "tuple()|ORDER BY"],
    },
    Case {
        what: "a sorting key of a column that is not there",
        typescript: "export const t = new OlapTable<Row>(\"t\", { orderByFields: [\"nosuch\"] });",
        python: "t = OlapTable[Row](\"t\", config=OlapConfig(order_by_fields=[\"nosuch\"]))",
        sql: "CREATE TABLE t (id String) ENGINE = MergeTree ORDER BY nosuch;",
        says: &["nosuch"],
    },
    Case {
        what: "a primary key that is no prefix of the sorting key",
        typescript: "export const t = new OlapTable<Row>(\"t\", { orderByFields: [\"id\", \"n\"], primaryKeyExpression: \"n\" });",
        python: "t = OlapTable[Row](\"t\", config=OlapConfig(order_by_fields=[\"id\", \"n\"], primary_key_expression=\"n\"))",
        sql: "CREATE TABLE t (id String, n UInt64) ENGINE = MergeTree PRIMARY KEY n ORDER BY (id, n);",
        says: &["prefix"],
    },
    Case {
        what: "a version column of a wrong type",
        typescript: "export const t = new OlapTable<Row>(\"t\", { orderByFields: [\"n\"], engine: ClickHouseEngines.ReplacingMergeTree, ver: \"id\" });",
        python: "t = OlapTable[Row](\"t\", config=OlapConfig(order_by_fields=[\"n\"], engine=ReplacingMergeTreeEngine(ver=\"id\")))",
        sql: "CREATE TABLE t (id String, n UInt64) ENGINE = ReplacingMergeTree(id) ORDER BY n;",
        says: &["version column|Version column|ver", "id"],
    },
    Case {
        what: "two tables with one physical name",
        typescript: "export const a = new OlapTable<Row>(\"t\", { version: \"1.0\", orderByFields: [\"id\"] });\nexport const b = new OlapTable<Row>(\"t_1\", { version: \"0\", orderByFields: [\"id\"] });",
        python: "a = OlapTable[Row](\"t\", config=OlapConfig(version=\"1.0\", order_by_fields=[\"id\"]))\nb = OlapTable[Row](\"t_1\", config=OlapConfig(version=\"0\", order_by_fields=[\"id\"]))",
        sql: "-- teal: table t version 1.0\nCREATE TABLE t (id String) ENGINE = MergeTree ORDER BY id;\n-- teal: table t_1 version 0\nCREATE TABLE t_1 (id String) ENGINE = MergeTree ORDER BY id;",
        says: &["one physical name", "t_1_0", "is declared here", "another name or version"],
    },
    Case {
        what: "the same table twice",
        typescript: "export const a = new OlapTable<Row>(\"t\", { orderByFields: [\"id\"] });\nexport const b = new OlapTable<Row>(\"t\", { orderByFields: [\"id\"] });",
        python: "a = OlapTable[Row](\"t\", config=OlapConfig(order_by_fields=[\"id\"]))\nb = OlapTable[Row](\"t\", config=OlapConfig(order_by_fields=[\"id\"]))",
        sql: "CREATE TABLE t (id String) ENGINE = MergeTree ORDER BY id;\nCREATE TABLE t (id String) ENGINE = MergeTree ORDER BY id;",
        says: &["already exists"],
    },
    Case {
        what: "a directive within a statement",
        typescript: "",
        python: "",
        sql: "CREATE TABLE t -- teal: version 0.1\n(id String) ENGINE = MergeTree ORDER BY id;",
        says: &["the directive stands within or behind the statement of t", "on a line of its own"],
    },
    Case {
        what: "a directive behind a statement",
        typescript: "",
        python: "",
        sql: "CREATE TABLE t (id String) ENGINE = MergeTree ORDER BY id; -- teal: lifecycle deletion_protected\n\
              CREATE TABLE u (id String) ENGINE = MergeTree ORDER BY id;",
        says: &["the directive stands within or behind the statement of t", "on a line of its own"],
    },
    Case {
        what: "a table that a SELECT fills",
        typescript: "",
        python: "",
        sql: "CREATE TABLE t ENGINE = MergeTree ORDER BY id AS SELECT 1 AS id;",
        says: &["table t is filled as it is made", "what a table is"],
    },
    Case {
        what: "a view of a database that is not there",
        typescript: "",
        python: "",
        sql: "CREATE TABLE t (id String) ENGINE = MergeTree ORDER BY id;\nCREATE MATERIALIZED VIEW v TO t AS SELECT id FROM nosuch.t;",
        says: &["does not accept the SELECT of view v", "nosuch"],
    },
    Case {
        what: "what teal does not carry over, of a table",
        typescript: "",
        python: "",
        sql: "CREATE TABLE t (id String, n UInt64 STATISTICS(tdigest)) ENGINE = MergeTree ORDER BY id;",
        says: &["STATISTICS (tdigest) of column n", "take it out"],
    },
    Case {
        what: "what teal does not carry over, of a view",
        typescript: "",
        python: "",
        sql: "CREATE VIEW t SQL SECURITY INVOKER AS SELECT 1 AS id;",
        says: &["view t says whose rights", "externally_managed"],
    },
    Case {
        what: "a view with a list of columns",
        typescript: "",
        python: "",
        sql: "CREATE VIEW t (id UInt32, b String) AS SELECT 1 AS id, 'b' AS b;",
        says: &["view t has a list of columns, (id UInt32, b String)", "in the SELECT"],
    },
    Case {
        what: "a view that is filled as it is made",
        typescript: "",
        python: "",
        sql: "CREATE MATERIALIZED VIEW t TO u (id UInt8) POPULATE AS SELECT 1 AS id;",
        says: &["view t has", "POPULATE"],
    },
    Case {
        what: "a view on a cluster",
        typescript: "",
        python: "",
        sql: "CREATE VIEW t ON CLUSTER c AS SELECT 1 AS id;",
        says: &["view t has ON CLUSTER c", "the one server"],
    },
    Case {
        what: "a view with a comment",
        typescript: "",
        python: "",
        sql: "CREATE VIEW t AS SELECT 1 AS id COMMENT 'x';",
        says: &["view t has COMMENT 'x'", "(-- …)"],
    },
    Case {
        what: "an option of a wrong kind",
        typescript: "export const t = new OlapTable<Row>(\"t\", { orderByFields: [\"id\"], lifeCycle: \"PROTECTED\" as never });",
        python: "t = OlapTable[Row](\"t\", config=OlapConfig(order_by_fields=[\"id\"], life_cycle=\"PROTECTED\"))",
        sql: "",
        says: &["DELETION_PROTECTED", "lifeCycle|life_cycle"],
    },
    Case {
        what: "an option that is not there",
        typescript: "export const t = new OlapTable<Row>(\"t\", { orderByField: [\"id\"] } as never);",
        python: "t = OlapTable[Row](\"t\", config=OlapConfig(order_by_field=[\"id\"]))",
        sql: "-- teal: table t vers 1\nCREATE TABLE t (id String) ENGINE = MergeTree ORDER BY id;",
        says: &["orderByField|order_by_field|vers", "orderByFields|order_by_fields|version"],
    },
    Case {
        what: "a version that is none",
        typescript: "export const t = new OlapTable<Row>(\"t\", { version: \"v1.0\", orderByFields: [\"id\"] });",
        python: "t = OlapTable[Row](\"t\", config=OlapConfig(version=\"v1.0\", order_by_fields=[\"id\"]))",
        sql: "-- teal: table t version v1.0\nCREATE TABLE t (id String) ENGINE = MergeTree ORDER BY id;",
        says: &["v1.0", "numbers with dots between them"],
    },
    Case {
        what: "a value in the SELECT of a view",
        typescript: "export const t = new OlapTable<Row>(\"t\", { orderByFields: [\"id\"] });\nexport const u = new OlapTable<Row>(\"u\", { orderByFields: [\"id\"] });\nexport const v = new MaterializedView<Row>({ materializedViewName: \"v\", selectTables: [t], targetTable: u,\n  selectStatement: sql`SELECT * FROM ${t} WHERE n > ${7}` });",
        python: "",
        sql: "",
        says: &["view v", "7", "sql.raw"],
    },
    Case {
        what: "an import that fails",
        typescript: "import { nothing } from \"./nosuch\";\nvoid nothing;",
        python: "from app import nosuch",
        sql: "",
        says: &["nosuch"],
    },
    Case {
        what: "an error in the user's own code",
        typescript: "function luck(): never { throw new Error(\"no luck\"); }\nluck();",
        python: "def luck():\n    raise ValueError(\"no luck\")\nluck()",
        sql: "",
        says: &["no luck", "luck"],
    },
    Case {
        what: "a model that ends the process",
        typescript: "process.exit(7);",
        python: "import sys\nsys.exit(7)",
        sql: "",
        says: &["exit", "7"],
    },
    Case {
        what: "a syntax error",
        typescript: "const a = = 1;",
        python: "a = = 1",
        sql: "CREATE TABLE t (\n  id String,,\n) ENGINE = MergeTree ORDER BY id;",
        says: &["yntax error"],
    },
    Case {
        what: "a statement that declares nothing",
        typescript: "",
        python: "",
        sql: "DROP TABLE t;",
        says: &["declares nothing: DROP TABLE t", "teal query"],
    },
];

/// Asserts that each word, or one of its alternatives, was said.
fn assert_says(case: &Case, file: &str, text: &str) {
    for word in case.says {
        let said = word.split('|').any(|alternative| text.contains(alternative));
        assert!(said, "{} in {file}: {word:?} is not in:\n{text}", case.what);
    }
}

#[test]
fn every_mistake_is_shown_with_its_place_and_what_to_do() {
    for case in CASES {
        let languages = [
            ("models.ts", TYPESCRIPT, case.typescript),
            ("models.py", PYTHON, case.python),
            ("models.sql", "", case.sql),
        ];
        for (file, head, text) in languages.into_iter().filter(|(.., text)| !text.is_empty()) {
            let path = format!("app/{file}");
            let project = Project::new(&[(&path, &format!("{head}{text}\n"))]);
            let run = project.teal(&["plan"]);
            run.failed(1, &[&format!("--> {path}:")]);
            assert_says(case, file, &run.stderr);
            // The line itself stands there, and no frame of the extractor's own does.
            assert!(run.stderr.contains(" | "), "{} in {file}: {}", case.what, run.stderr);
            for own in ["teal/extract.py", "extract.cjs", "dist/cjs", "_teal_shadow"] {
                assert!(!run.stderr.contains(own), "{} in {file}: {}", case.what, run.stderr);
            }
        }
    }
}

#[test]
fn a_place_is_named_with_its_column_and_its_declaration() {
    for (file, text, place) in [
        (
            "app/models.ts",
            format!("{TYPESCRIPT}export const t = new OlapTable<Row>(\"t\");\n"),
            "app/models.ts:3:18",
        ),
        ("app/models.py", format!("{PYTHON}t = OlapTable[Row](\"t\")\n"), "app/models.py:8:5"),
        (
            "app/models.sql",
            "\n  CREATE TABLE t (id Strange) ENGINE = Memory;\n".to_owned(),
            "app/models.sql:2:3",
        ),
    ] {
        let run = Project::new(&[(file, &text)]).teal(&["plan"]);
        run.failed(1, &[place]);
        assert!(run.stderr.contains("^ t\n"), "{}", run.said());
    }
}

#[test]
fn what_a_model_prints_is_not_in_the_way() {
    for (file, text) in [
        (
            "app/models.ts",
            format!(
                "{TYPESCRIPT}console.log(\"{{\");\nexport const t = new OlapTable<Row>(\"t\", {{ orderByFields: [\"id\"] }});\n"
            ),
        ),
        (
            "app/models.py",
            format!(
                "{PYTHON}print(\"{{\")\nt = OlapTable[Row](\"t\", config=OlapConfig(order_by_fields=[\"id\"]))\n"
            ),
        ),
    ] {
        let project = Project::new(&[(file, &text)]);
        let plan: serde_json::Value = project.json(&["plan"]);
        assert_eq!(plan["operations"].as_array().map(Vec::len), Some(1), "{plan}");
    }
}

#[test]
fn a_model_that_never_ends_is_ended() {
    for (file, text) in [
        ("app/models.ts", "setInterval(() => 0, 1000);\nwhile (true);\n"),
        ("app/models.py", "while True: pass\n"),
    ] {
        let project = Project::new(&[(file, text)]);
        let began = Instant::now();
        let run = project.teal(&["plan", "--model-timeout", "1"]);
        run.failed(1, &["did not end within 1 s", "--model-timeout"]);
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}

#[test]
fn a_model_that_never_ends_ends_with_a_teal_that_is_killed() {
    let models = "import { writeFileSync } from \"node:fs\";\n\
         writeFileSync(\"pid\", String(process.pid));\nwhile (true);\n";
    let project = Project::new(&[("app/models.ts", models)]);
    let plan = Background::start(project.command(&["plan"]));
    let pid = until("the model", || {
        let said = std::fs::read_to_string(project.path().join("pid")).ok()?;
        said.parse::<u32>().ok()
    });
    assert!(plan.kill().killed);
    until("its end", || {
        // Whoever takes in orphans may leave what remains of one.
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with(['Z', 'X'])).then_some(())
    });
}

#[test]
fn a_version_that_a_view_does_not_list_is_warned_of() {
    let models = "import { MaterializedView, OlapTable, sql } from \"teal-sdk\";\n\
         interface Event { id: string }\n\
         interface Count { n: number }\n\
         export const a = new OlapTable<Event>(\"events\", { version: \"0.0\", orderByFields: [\"id\"] });\n\
         export const b = new OlapTable<Event>(\"events\", { version: \"0.1\", orderByFields: [\"id\"] });\n\
         export const counts = new OlapTable<Count>(\"counts\", { orderByFields: [\"n\"] });\n\
         export const v = new MaterializedView<Count>({ materializedViewName: \"mv\", selectTables: [],\n  \
         selectStatement: sql`SELECT toFloat64(count()) AS n FROM events`, targetTable: counts });\n";
    let project = Project::new(&[("app/models.ts", models)]);
    // A table of just that name, so that the server finds nothing wrong.
    project.query("CREATE TABLE events (id String) ENGINE = MergeTree ORDER BY id");
    let plan = project.must(&["plan"]);
    for words in ["app/models.ts:7", "no version of the table events", "events_0_0, events_0_1"] {
        assert!(plan.stderr.contains(words), "{words}: {}", plan.said());
    }
    // What it lists and does not read.
    project
        .write("app/models.ts", &models.replace("selectTables: []", "selectTables: [a, counts]"));
    let plan = project.must(&["plan"]);
    assert!(!plan.stderr.contains("no version"), "{}", plan.said());
    assert!(plan.stdout.contains("does not read it"), "{}", plan.said());
}

#[test]
fn what_is_managed_elsewhere_is_left_alone() {
    let project = Project::new(&[(
        "app/t.sql",
        "-- teal: lifecycle externally_managed\n\
         CREATE TABLE theirs (id UInt8, more String) ENGINE = MergeTree ORDER BY id;\n\
         -- teal: table v version 0.1 lifecycle externally_managed\n\
         CREATE TABLE v (id UInt8) ENGINE = MergeTree ORDER BY id;\n\
         -- teal: table v version 0.2\n\
         CREATE TABLE v_0_2 (id UInt8) ENGINE = MergeTree ORDER BY (id, id % 2);\n",
    )]);
    project.query("CREATE TABLE theirs (id UInt64) ENGINE = Memory");
    let plan = project.must(&["plan"]);
    assert!(!plan.stdout.contains("conflict"), "{}", plan.said());
    assert!(plan.stdout.contains("v_0_1 is managed elsewhere"), "{}", plan.said());
    assert!(!plan.stdout.contains("create table default.v_0_1"), "{}", plan.said());
    // It may say what teal does not carry over: its SELECT can be read nevertheless.
    let seen = "-- teal: lifecycle externally_managed\nCREATE VIEW seen (id UInt64) AS SELECT id FROM theirs COMMENT 'x';";
    project.write("app/seen.sql", seen);
    let plan = project.must(&["plan"]);
    assert!(!plan.stdout.contains("create view default.seen"), "{}", plan.said());
    let view = "CREATE MATERIALIZED VIEW forward TO v_0_2 AS SELECT id FROM v_0_1;";
    project.write("app/view.sql", view);
    project.teal(&["plan"]).failed(3, &["app/view.sql:1", "managed elsewhere"]);
}
