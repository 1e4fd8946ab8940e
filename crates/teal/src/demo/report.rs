use serde::Serialize;
use teal_client::GateStats;

use super::proof::Difference;
use super::traffic::Seen;
use crate::show;

/// What the demo found out; `teal demo --json`. Times are in seconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) recipe: &'static str,
    /// Rows before the traffic.
    pub(super) rows: u64,
    /// Rows that the writers had acknowledged, in all.
    pub(super) rows_written: u64,
    /// Both at one moment, just before blue is dropped.
    pub(super) rows_in_blue: u64,
    pub(super) rows_in_green: u64,
    #[serde(flatten)]
    pub(super) difference: Difference,
    pub(super) inserts: u64,
    pub(super) failed_inserts: u64,
    pub(super) reads: u64,
    pub(super) failed_reads: u64,
    pub(super) reads_backwards: u64,
    /// The longest that an INSERT took, from its first byte to its acknowledgement.
    pub(super) longest_insert: f64,
    pub(super) longest_read: f64,
    pub(super) gate: Gate,
    pub(super) seconds: Seconds,
    /// Of the backfill.
    pub(super) rows_per_second: f64,
    pub(super) query: Query,
    pub(super) errors: Vec<String>,
}

/// What the write gate cost the writers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Gate {
    pub(super) waits: u64,
    pub(super) longest_wait: f64,
    /// The slowest INSERT that was running when the gate was asked to close.
    pub(super) slowest_running: f64,
    /// The most by which a wait was longer than the slowest INSERT that it had to wait for.
    pub(super) longest_beyond: f64,
    /// The longest that it was closed with no INSERT running.
    pub(super) longest_closed: f64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Seconds {
    /// Models, plan, green, fence, copy and verification.
    pub(super) apply: f64,
    pub(super) models: f64,
    pub(super) plan: f64,
    pub(super) fence: f64,
    pub(super) backfill: f64,
    pub(super) verify: f64,
    pub(super) cutover: f64,
    pub(super) cleanup: f64,
}

/// What the migration was good for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Query {
    pub(super) sql: String,
    pub(super) before: Cost,
    pub(super) after: Cost,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cost {
    pub(super) rows_read: u64,
    /// Median of five.
    pub(super) seconds: f64,
}

impl Gate {
    pub(super) fn new(stats: GateStats) -> Self {
        Self {
            waits: stats.waits,
            longest_wait: stats.longest_wait.as_secs_f64(),
            slowest_running: stats.slowest_running.as_secs_f64(),
            longest_beyond: stats.longest_beyond.as_secs_f64(),
            longest_closed: stats.longest_closed.as_secs_f64(),
        }
    }
}

impl Report {
    pub(super) fn take_in(&mut self, seen: Seen) {
        self.inserts = seen.inserts;
        self.failed_inserts = seen.failed_inserts;
        self.reads = seen.reads;
        self.failed_reads = seen.failed_reads;
        self.reads_backwards = seen.reads_backwards;
        self.longest_insert = seen.longest_insert.as_secs_f64();
        self.longest_read = seen.longest_read.as_secs_f64();
        self.errors = seen.errors;
    }

    /// Whether every row is there once and nobody noticed anything.
    pub(super) fn is_exact(&self) -> bool {
        self.difference == Difference { lost: 0, duplicated: 0 }
            && self.failed_inserts == 0
            && self.failed_reads == 0
            && self.reads_backwards == 0
    }

    pub(super) fn as_text(&self) -> String {
        let ms = |seconds: f64| match seconds {
            s if s < 1.0 => format!("{:.1} ms", s * 1e3),
            s => format!("{s:.2} s"),
        };
        let number = |name: &str, n: u64| vec![name.to_owned(), show::count(n)];
        let time = |name: &str, seconds: f64| vec![name.to_owned(), ms(seconds)];
        let rows = vec![
            number("rows before", self.rows),
            number("rows written meanwhile", self.rows_written),
            number("rows in blue just before its drop", self.rows_in_blue),
            number("rows in green then", self.rows_in_green),
            number("lost", self.difference.lost),
            number("duplicated", self.difference.duplicated),
            number("inserts", self.inserts),
            number("failed inserts", self.failed_inserts),
            number("reads", self.reads),
            number("failed reads", self.failed_reads),
            number("reads that saw fewer rows than before", self.reads_backwards),
            time("longest insert", self.longest_insert),
            time("longest wait of an insert at the gate", self.gate.longest_wait),
            time("  slowest insert that was running then", self.gate.slowest_running),
            time("  longest beyond what it waited for", self.gate.longest_beyond),
            time("apply, all of it", self.seconds.apply),
            vec!["copy".to_owned(), format!("{} rows/s", show::count(self.rows_per_second as u64))],
        ];
        let mut text = show::table(&["", "proof"], rows);
        let (before, after) = (self.query.before, self.query.after);
        text.push_str(&format!(
            "\n\n {}\n   before: {} rows read, {}\n   after:  {} rows read, {}",
            self.query.sql,
            show::count(before.rows_read),
            ms(before.seconds),
            show::count(after.rows_read),
            ms(after.seconds),
        ));
        for error in &self.errors {
            text.push_str(&format!("\n error seen: {error}"));
        }
        text
    }
}
