use super::Preflight;
use crate::{Cutover, Migration};

/// How many INSERTs a table remembers, so as to leave out one that is sent again. Off by default.
const WINDOW: &str = "non_replicated_deduplication_window";

impl Preflight<'_> {
    /// What blue leaves out as sent again, green has not seen, if it is from before the migration: the view forwards
    /// it (26.9), and so does whoever sends it to green.
    pub(super) fn look_at_retries(&mut self, migration: &Migration) {
        let blue = self.current.table(&migration.blue);
        let settings = blue.and_then(|blue| blue.declared_settings().ok()).unwrap_or_default();
        let Some(window) = settings.get(WINDOW).filter(|window| *window != "0") else {
            return;
        };
        let when = match migration.cutover {
            Cutover::App => "once its writers are on green",
            Cutover::Exchange | Cutover::Alias => "behind the cutover",
        };
        let has_green = migration.create_green.contains(WINDOW);
        let (lacks, also) = match has_green {
            true => ("", ""),
            false => (", which has no such window,", ", and give green the same setting"),
        };
        let says = format!(
            "it leaves out INSERTs that are sent again ({WINDOW} = {window}), and green{lacks} does not know those of before: sent again {when}, such an INSERT is there twice. Sent again while both are there, it is forwarded, until `teal repair` or the next proof removes it from green"
        );
        let fix = format!("let no INSERT be sent again across the cutover{also}");
        self.found(&migration.blue, false, says, fix);
    }
}
