use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use owo_colors::OwoColorize as _;
use parking_lot::Mutex;
use teal_migrate::{Observer, Step, Update};

use crate::show;

/// Shows a migration on the standard error: a line per step, a bar while rows are copied.
#[derive(Default)]
pub(crate) struct Progress {
    bar: Mutex<Option<ProgressBar>>,
    /// The steps that have ended, for a report afterwards.
    ended: Mutex<Vec<(Step, Duration)>>,
    /// Rows of the last copy.
    copied: AtomicU64,
}

impl Progress {
    pub(crate) fn took(&self, step: Step) -> Duration {
        self.ended.lock().iter().filter(|(ended, _)| *ended == step).map(|(_, took)| *took).sum()
    }

    /// Rows that the last backfill had to copy.
    pub(crate) fn rows_copied(&self) -> u64 {
        self.copied.load(Ordering::Relaxed)
    }

    /// Prints a line above the bar.
    fn line(&self, line: &str) {
        match &*self.bar.lock() {
            Some(bar) if !bar.is_finished() => bar.suspend(|| show::note(line)),
            _ => show::note(line),
        }
    }

    /// On a terminal, shows which step it is at and for how long; it goes when the step ends.
    fn began(&self, step: Step) {
        let clock = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("  {msg:9} {elapsed:>8}  {spinner}") {
            clock.set_style(style);
        }
        clock.set_message(step.name());
        clock.enable_steady_tick(Duration::from_millis(200));
        if let Some(before) = self.bar.lock().replace(clock) {
            before.finish_and_clear();
        }
    }

    fn copied(&self, rows: u64, of: u64) {
        self.copied.store(of, Ordering::Relaxed);
        let mut bar = self.bar.lock();
        // The step's own has no length.
        if let Some(clock) = bar.take_if(|bar| bar.length().is_none()) {
            clock.finish_and_clear();
        }
        let bar = bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template(
                "  copying   {bar:30} {human_pos} of {human_len} rows, {per_sec}, {eta} left",
            );
            let bar = ProgressBar::new(of)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        bar.set_length(of);
        bar.set_position(rows);
    }
}

impl Observer for Progress {
    fn update(&self, update: Update<'_>) {
        match update {
            Update::Began { step, .. } => self.began(step),
            Update::Copied { rows, of } => self.copied(rows, of),
            Update::Ended { step, took, outcome, .. } => {
                if let Some(bar) = self.bar.lock().take() {
                    bar.finish_and_clear();
                }
                self.ended.lock().push((step, took));
                let (name, took) = (format!("{:9}", step.name()), show::duration(took));
                self.line(&format!("  {} {took:>8}  {outcome}", name.green()));
            }
            Update::Waiting { reason } => {
                self.line(&format!("  {} for {reason}", "waiting".yellow()))
            }
            Update::WentOn => self.line(&format!("  {}", "going on".yellow())),
            Update::Warning { what } => {
                self.line(&format!("{} {what}", "warning:".yellow().bold()))
            }
            Update::Stale { what } => self.line(&format!("  {}   {what}", "stale".yellow())),
            Update::Healed { what } => self.line(&format!("  {} {what}", "healed".yellow())),
        }
    }
}
