//! Secrets that models hold are in nothing that teal says or keeps.

use crate::support::Project;

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
