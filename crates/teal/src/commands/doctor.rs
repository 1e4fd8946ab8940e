use std::process::ExitCode;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use owo_colors::OwoColorize as _;
use serde::{Deserialize, Serialize};
use teal_catalog::{Feature, Features, Grant, has_rights};
use teal_client::{ClientError, Server, Session};
use teal_plan::{ENABLE_PART_LOG, GLOBAL_RIGHTS, MIGRATION_RIGHTS, OWN_DATABASES, OWN_RIGHTS};
use teal_schema::quote_ident;

use crate::cli::Common;
use crate::failure::Failure;
use crate::show;
use crate::target::Project;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    about: &'static str,
    verdict: Verdict,
    says: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fix: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Verdict {
    Good,
    /// teal works, with less.
    Mind,
    /// Something will not work.
    Bad,
}

/// Rights by which teal sees what may stand in the way.
const SEES: [(&str, &str); 2] = [
    ("SHOW ROW POLICIES", "row policies, which would hide rows from it"),
    ("SHOW TABLES", "what writes to a table or reads it from other databases, a Buffer say"),
];

/// Of a log of the server.
const UNSEEN: &str = "whether there is one is not to be seen without SELECT on system.*";

const SYSTEM: &str = "system.*";

/// Beyond it the lock's lease and the times in the journal would mislead.
const CLOCKS_APART: Duration = Duration::from_secs(5);

pub(crate) fn run(common: &Common) -> Result<ExitCode, Failure> {
    let project = Project::read(common)?;
    let server = project.open_or_make()?;
    let findings = Doctor {
        session: server.session(&[])?,
        server: server.as_ref(),
        database: &project.plan.database,
        sees_system: true,
        findings: Vec::new(),
    }
    .look()?;
    if common.json {
        show::json(&findings)?;
    } else {
        show::data(&as_text(&findings))?;
    }
    Ok(match findings.iter().any(|finding| finding.verdict == Verdict::Bad) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

fn as_text(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for finding in findings {
        let word = match finding.verdict {
            Verdict::Good => "good".green().to_string(),
            Verdict::Mind => "mind".yellow().to_string(),
            Verdict::Bad => "bad ".red().to_string(),
        };
        lines.push(format!("{word}  {:11} {}", finding.about, finding.says));
        lines.extend(finding.fix.iter().map(|fix| format!("{:18}{fix}", "")));
    }
    lines.join("\n")
}

struct Doctor<'a> {
    server: &'a dyn Server,
    session: Box<dyn Session + 'a>,
    database: &'a str,
    /// Without it, tables of the system look as if they were not there.
    sees_system: bool,
    findings: Vec<Finding>,
}

impl Doctor<'_> {
    fn look(mut self) -> Result<Vec<Finding>, Failure> {
        self.look_at_connection()?;
        let features = Features::read(self.session.as_mut())?;
        self.look_at_clock()?;
        self.look_at_grants()?;
        self.look_at_features(&features);
        self.look_at_fence(&features);
        let disks = self.look_at_disks();
        self.or_say("disk", disks)?;
        let merges = self.look_at_merges();
        self.or_say("merges", merges)?;
        Ok(self.findings)
    }

    /// What the server does not show is a finding too: the rights that are missing are told with it.
    fn or_say(
        &mut self,
        about: &'static str,
        looked: Result<(), ClientError>,
    ) -> Result<(), Failure> {
        match looked {
            Err(ClientError::Server { message, .. }) => {
                self.say(about, Verdict::Bad, format!("not to be seen: {message}"));
                Ok(())
            }
            looked => Ok(looked?),
        }
    }

    fn say(&mut self, about: &'static str, verdict: Verdict, says: String) {
        self.findings.push(Finding { about, verdict, says, fix: Vec::new() });
    }

    fn say_with(&mut self, about: &'static str, verdict: Verdict, says: String, fix: Vec<String>) {
        self.findings.push(Finding { about, verdict, says, fix });
    }

    fn look_at_connection(&mut self) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Row {
            user: String,
            version: String,
            up: u64,
        }
        let asked = Instant::now();
        let row = self
            .session
            .row::<Row>("SELECT currentUser() AS user, version() AS version, uptime() AS up")?;
        let took = asked.elapsed();
        self.say(
            "connection",
            Verdict::Good,
            format!(
                "{}, as {}; an answer takes {}",
                self.server.describe(),
                row.user,
                show::duration(took)
            ),
        );
        self.say(
            "version",
            Verdict::Good,
            format!("{}, up for {}", row.version, show::duration(Duration::from_secs(row.up))),
        );
        Ok(())
    }

    fn look_at_clock(&mut self) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Row {
            now: i64,
        }
        let before = Timestamp::now().as_millisecond();
        let row = self.session.row::<Row>("SELECT toUnixTimestamp64Milli(now64(3)) AS now")?;
        let after = Timestamp::now().as_millisecond();
        // As far as the way there and back can tell.
        let apart = (before - row.now).max(row.now - after).max(0).unsigned_abs();
        let apart = Duration::from_millis(apart);
        match apart > CLOCKS_APART {
            false => self.say(
                "clock",
                Verdict::Good,
                format!(
                    "the server's and this machine's are at most {} apart",
                    show::duration(apart)
                ),
            ),
            true => self.say_with(
                "clock",
                Verdict::Mind,
                format!("the server's and this machine's are {} apart", show::duration(apart)),
                vec![
                    "set both by NTP: retention and what a cleanup looks back for go by both"
                        .to_owned(),
                ],
            ),
        }
        Ok(())
    }

    fn look_at_grants(&mut self) -> Result<(), Failure> {
        let database = format!("{}.*", quote_ident(self.database));
        let of_views = ["CREATE VIEW", "DROP VIEW", "ALTER VIEW"];
        let needed = [
            (database, MIGRATION_RIGHTS.iter().copied().chain(of_views).collect::<Vec<_>>()),
            (OWN_DATABASES.to_owned(), OWN_RIGHTS.to_vec()),
            (SYSTEM.to_owned(), vec!["SELECT"]),
            ("*.*".to_owned(), GLOBAL_RIGHTS.to_vec()),
        ];
        let mut missing = Vec::new();
        for (on, rights) in needed {
            let mut lacking = Vec::new();
            for right in rights {
                match has_rights(self.session.as_mut(), &[right], &on)? {
                    Some(true) => (),
                    Some(false) => lacking.push(right),
                    None => {
                        self.say_with(
                            "grants",
                            Verdict::Mind,
                            "this server cannot be asked for them (CHECK GRANT came with 24.11)"
                                .to_owned(),
                            vec!["see SHOW GRANTS".to_owned()],
                        );
                        return Ok(());
                    }
                }
            }
            self.sees_system &= lacking.is_empty() || on != SYSTEM;
            if !lacking.is_empty() {
                missing.push(Grant { rights: lacking, on });
            }
        }
        #[derive(Deserialize)]
        struct Row {
            user: String,
        }
        let Row { user } = self.session.row("SELECT currentUser() AS user")?;
        let fix = |grants: &[Grant]| {
            grants.iter().map(|grant| format!("{};", grant.sql(&quote_ident(&user)))).collect()
        };
        match missing.is_empty() {
            true => self.say(
                "grants",
                Verdict::Good,
                format!("all that teal needs on {} and on databases of its own", self.database),
            ),
            false => {
                self.say_with("grants", Verdict::Bad, "some are missing".to_owned(), fix(&missing));
            }
        }
        // As a plan, which says so of each migration.
        let mut unseen = Vec::new();
        for (right, without) in SEES {
            if !self.server.is_exclusive()
                && has_rights(self.session.as_mut(), &[right], "*.*")? == Some(false)
            {
                unseen.push((right, without));
            }
        }
        for (right, without) in unseen {
            let grant = Grant { rights: vec![right], on: "*.*".to_owned() };
            self.say_with(
                "grants",
                Verdict::Mind,
                format!("teal may not see {without}"),
                fix(&[grant]),
            );
        }
        Ok(())
    }

    fn look_at_features(&mut self, features: &Features) {
        let all: [(&str, &Feature, &str); 3] = [
            (
                "clone across engines",
                &features.clone_across_engines,
                "an engine that folds rows cannot be changed to; update the server",
            ),
            (
                "Alias engine",
                &features.alias,
                "after an exchange, green's name does not stay as an alias at the cleanup",
            ),
            (
                "query_log",
                &features.query_log,
                "teal cannot say who still uses the old table; configure <query_log>",
            ),
        ];
        for (name, feature, without) in all {
            match feature.is_there {
                // Every statement passes through teal there, and the engine keeps none.
                false if self.server.is_exclusive() && name == "query_log" => (),
                false if !self.sees_system && name == "query_log" => {
                    self.say("feature", Verdict::Mind, format!("{name}: {UNSEEN}"));
                }
                true => self.say(
                    "feature",
                    Verdict::Good,
                    format!("{name} (by {})", feature.known_from),
                ),
                false => self.say_with(
                    "feature",
                    Verdict::Mind,
                    format!("no {name} (by {})", feature.known_from),
                    vec![without.to_owned()],
                ),
            }
        }
    }

    fn look_at_fence(&mut self, features: &Features) {
        if self.server.write_gate().is_some() {
            let says = "write gate: every INSERT passes through teal here".to_owned();
            return self.say("fence", Verdict::Good, says);
        }
        match features.part_log.is_there {
            false if !self.sees_system => {
                self.say("fence", Verdict::Mind, format!("part_log: {UNSEEN}"));
            }
            true => self.say(
                "fence",
                Verdict::Good,
                "part_log: tells which INSERTs that ran across a cut were forwarded".to_owned(),
            ),
            false => self.say_with(
                "fence",
                Verdict::Mind,
                "a quiet cut: without part_log, the view can only be attached in a moment without INSERTs".to_owned(),
                vec![ENABLE_PART_LOG.to_owned()],
            ),
        }
    }

    fn look_at_disks(&mut self) -> Result<(), ClientError> {
        #[derive(Deserialize)]
        struct Row {
            name: String,
            free: u64,
            total: u64,
        }
        let disks = self.session.rows::<Row>(
            "SELECT name, unreserved_space AS free, total_space AS total FROM system.disks ORDER BY name",
        )?;
        for disk in disks {
            let says = format!(
                "{}: {} of {} free",
                disk.name,
                show::bytes(disk.free),
                show::bytes(disk.total)
            );
            match disk.free < disk.total / 10 {
                false => self.say("disk", Verdict::Good, says),
                true => self.say_with(
                    "disk",
                    Verdict::Mind,
                    says,
                    vec![
                        "a rewrite needs as much as the table has; the plan says how much"
                            .to_owned(),
                    ],
                ),
            }
        }
        Ok(())
    }

    fn look_at_merges(&mut self) -> Result<(), ClientError> {
        #[derive(Deserialize)]
        struct Merges {
            merges: u64,
            mutations: u64,
            failing: u64,
            most_parts: u64,
            delay_at: u64,
        }
        let row = self.session.row::<Merges>(
            "SELECT (SELECT count() FROM system.merges) AS merges, \
                 (SELECT count() FROM system.mutations WHERE NOT is_done) AS mutations, \
                 (SELECT count() FROM system.mutations WHERE NOT is_done AND latest_fail_reason != '') AS failing, \
                 (SELECT max(parts) FROM (SELECT count() AS parts FROM system.parts WHERE active GROUP BY database, table, partition_id)) AS most_parts, \
                 (SELECT toUInt64(value) FROM system.merge_tree_settings WHERE name = 'parts_to_delay_insert') AS delay_at",
        )?;
        let says = format!(
            "{} running, {} mutations in progress; a partition has {} parts at most, INSERTs are slowed down from {}",
            row.merges, row.mutations, row.most_parts, row.delay_at
        );
        let mut fix = Vec::new();
        if row.failing > 0 {
            fix.push(format!(
                "{} mutations fail: see latest_fail_reason in system.mutations",
                row.failing
            ));
        }
        if row.delay_at > 0 && row.most_parts > row.delay_at / 2 {
            fix.push("merges do not keep up: insert larger batches, or less often".to_owned());
        }
        let verdict = if fix.is_empty() { Verdict::Good } else { Verdict::Mind };
        self.say_with("merges", verdict, says, fix);
        Ok(())
    }
}
