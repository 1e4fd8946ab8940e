//! Migrations as people read them in `status`.

use std::time::Duration;

use teal_migrate::{PhaseName, Proof, Status};

use crate::show;

pub(crate) fn table(migrations: &[Status]) -> String {
    if migrations.is_empty() {
        return "No migration has been started on this target.".to_owned();
    }
    let rows = migrations.iter().map(|status| {
        vec![
            status.table.clone(),
            versions(status),
            status.phase.to_string(),
            time(status.since),
            status.strategy.clone(),
            rows(status),
            status
                .rows_per_second
                .map(|speed| format!("{}/s", show::count(speed)))
                .unwrap_or_default(),
            left(status).unwrap_or_default(),
            match &status.operator {
                Some(operator) if status.step.is_some() => {
                    format!("process {} is working on it", operator.process)
                }
                _ => status.next.clone(),
            },
        ]
    });
    let header = ["table", "versions", "phase", "since", "copy", "rows", "speed", "left", "next"];
    let mut text = show::table(&header, rows.collect());
    for status in migrations.iter().filter(|status| !status.is_over) {
        text.push_str(&format!("\n\n{} {}", status.table, versions(status)));
        for (about, says) in details(status) {
            text.push_str(&format!("\n  {about:8} {says}"));
        }
    }
    text
}

/// One line for each migration.
pub(crate) fn lines(migrations: &[Status]) -> Vec<String> {
    let line = |status: &Status| {
        let mut line = format!(
            "{} {} {}, {} rows",
            status.table,
            versions(status),
            status.phase,
            rows(status)
        );
        if let Some(speed) = status.rows_per_second {
            line.push_str(&format!(", {} rows/s", show::count(speed)));
        }
        if let Some(proof) = proof(status) {
            line.push_str(&format!(", {proof}"));
        }
        if let Some(left) = left(status) {
            line.push_str(&format!(", {left} left"));
        }
        match (&status.waiting, &status.paused) {
            (Some(waiting), _) => line.push_str(&format!("; waits for {}", waiting.reason)),
            (None, Some(paused)) => line.push_str(&format!("; paused by {}", paused.by)),
            (None, None) => (),
        }
        line
    };
    migrations.iter().map(line).collect()
}

fn details(status: &Status) -> Vec<(&'static str, String)> {
    let mut details = Vec::new();
    if let Some(operator) = &status.operator {
        let step = status.step.as_deref().unwrap_or("something else, or between two steps");
        let says = format!(
            "{step}, by process {} on {}, as of {}",
            operator.process,
            operator.host,
            time(operator.told)
        );
        details.push(("doing", says));
    }
    if let Some(proof) = proof(status) {
        details.push(("proof", proof));
    }
    if let Some(waiting) = &status.waiting {
        details.push(("waits", format!("for {}, since {}", waiting.reason, time(waiting.since))));
    }
    if let Some(asked) = &status.paused {
        details.push(("paused", format!("by {}, at {}", asked.by, time(asked.at))));
    }
    if let Some(asked) = &status.abort_asked {
        details.push(("abort", format!("asked for by {}, at {}", asked.by, time(asked.at))));
    }
    let bytes = format!(
        "{} of {} of the old table on disk",
        show::bytes(status.bytes_copied),
        show::bytes(status.bytes)
    );
    details.push(("bytes", bytes));
    details.push(("limits", status.throttle.to_string()));
    if let Some(fence) = &status.fence {
        let tries = if fence.attempts == 1 { "try" } else { "tries" };
        details.push((
            "fence",
            format!("{}, {} {tries}, at {}", fence.by, fence.attempts, time(fence.at)),
        ));
    }
    details.push((
        "verified",
        match &status.verified {
            Some(proof) => format!(
                "at {}: {} {}rows, {}",
                time(proof.at),
                show::count(proof.rows),
                if proof.folded { "folded " } else { "" },
                match (proof.compared, proof.rows) {
                    (0, 0) => "nothing to compare".to_owned(),
                    (0, _) => "unchanged since the proof before".to_owned(),
                    (buckets, _) => format!("compared in {} buckets", show::count(buckets)),
                }
            ),
            None => "not yet".to_owned(),
        },
    ));
    let is_done = status.phase == PhaseName::CutOver;
    details.push((
        "cutover",
        format!("{}{}", if is_done { "done, by " } else { "by " }, status.cutover),
    ));
    if is_done {
        let says = match status.old_is_kept_current {
            true => "the old table is kept current by a view from the new one",
            false => "the old table gets nothing of what is written to the new one",
        };
        details.push(("back", says.to_owned()));
    }
    details.extend(status.still_used_by.iter().map(|by| ("used", format!("still, by {by}"))));
    details
}

fn versions(status: &Status) -> String {
    show::versions(&status.from, &status.to)
}

fn rows(status: &Status) -> String {
    format!("{} of {}", show::count(status.rows_copied), show::count(status.rows))
}

fn proof(status: &Status) -> Option<String> {
    let Proof { rows, rows_read } = status.proof.as_ref()?;
    Some(format!("{} of {} rows of both tables read", show::count(*rows_read), show::count(*rows)))
}

fn left(status: &Status) -> Option<String> {
    status.seconds_left.map(|seconds| show::duration(Duration::from_secs(seconds)))
}

fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
