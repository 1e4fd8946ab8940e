//! Secrets that models hold are in nothing that teal says or keeps.

use crate::support::Project;

/// A table, and its next version on a disk that only the model describes.
const DISK: &str = r#"
from pydantic import BaseModel
from teal import MaterializedView, MaterializedViewOptions, OlapConfig, OlapTable

class Row(BaseModel):
    id: int
    n: int

old = OlapTable[Row]("kept", config=OlapConfig(version="0.0", order_by_fields=["id"]))
"#;
const NEXT: &str = r#"
disk = "disk(type = encrypted, disk = disk(type = local, path = 'DIRECTORY'), key = 'hunter2hunter2hu')"
new = OlapTable[Row]("kept", config=OlapConfig(version="0.1", order_by_fields=["n"], settings={"disk": disk}))
mv = MaterializedView[Row](MaterializedViewOptions(
    materialized_view_name="mv_kept", select_statement=f"SELECT * FROM {old.name}", select_tables=[old]),
    target_table=new)
"#;

#[test]
fn a_secret_of_a_model_comes_into_no_journal() {
    let project = Project::new(&[("app/kept.py", DISK)]);
    let disks = project.path().join("disks");
    std::fs::create_dir(&disks).unwrap();
    let base = format!(
        "<clickhouse><custom_local_disks_base_directory>{}/</custom_local_disks_base_directory></clickhouse>",
        disks.display()
    );
    project.write("engine.xml", &base);
    let config = project.path().join("engine.xml").display().to_string();
    project.must(&["--engine-config", &config, "apply"]);
    let next = NEXT.replace("DIRECTORY", &format!("{}/a/", disks.display()));
    project.write("app/kept.py", &format!("{DISK}{next}"));
    let refused = project.teal(&["--engine-config", &config, "apply"]);
    refused.failed(3, &["a secret in clear text", "journal", "server's configuration"]);
    assert!(!refused.said().contains("hunter2"), "{}", refused.said());
}

const PYTHON: &str = r#"
from pydantic import BaseModel
from teal import KafkaEngine, OlapConfig, OlapTable, S3Engine

class Row(BaseModel):
    id: int

stream = OlapTable[Row]("stream", config=OlapConfig(
    engine=KafkaEngine("127.0.0.1:1", "topic", "group", "JSONEachRow"),
    settings={"kafka_sasl_username": "ana", "kafka_sasl_password": "hunter2"}))
"#;

const TYPESCRIPT: &str = r#"
import { ClickHouseEngines, OlapTable } from "teal-sdk";
interface Row { id: string }
export const bucket = new OlapTable<Row>("bucket", {
  engine: ClickHouseEngines.S3, path: "http://127.0.0.1:1/b/f", format: "CSV",
  awsAccessKeyId: "ana", awsSecretAccessKey: "hunter\"3",
});
"#;

fn assert_kept(said: &str) {
    assert!(said.contains("ana") && said.contains("'[HIDDEN]'"), "{said}");
    assert!(!said.contains("hunter"), "{said}");
}

#[test]
fn a_secret_of_a_model_is_used_and_not_told() {
    let project = Project::new(&[("app/stream.py", PYTHON), ("app/bucket.ts", TYPESCRIPT)]);
    for arguments in [&["plan"][..], &["plan", "--json"], &["plan", "--explain", "stream"]] {
        assert_kept(&project.must(arguments).stdout);
    }
    for arguments in [&["plan", "--yaml"][..], &["plan", "--save", "plan.yaml"]] {
        let run = project.teal(arguments);
        run.failed(3, &["in clear text", "named collection"]);
        assert!(!run.said().contains("hunter"), "{}", run.said());
    }
    assert!(!project.path().join("plan.yaml").exists());
    // What the server says of a statement that it refuses has the statement with it.
    let refused = project.teal(&["apply"]);
    refused.failed(1, &["ENGINE = S3"]);
    assert_kept(&refused.said());

    project.remove("app/bucket.ts");
    project.must(&["apply"]);
    // The server does not tell it, and what it does not tell is no difference.
    assert_eq!(project.teal(&["plan", "--check"]).code, Some(0));
}
