use super::Preflight;
use crate::Operation;

impl Preflight<'_> {
    /// What a migration that is not over needs, and what a cleanup has put aside. A plan that was saved before does not
    /// know of it.
    pub(super) fn look_at_begun(&mut self) {
        let touched = self.operations.iter().filter_map(|operation| match operation {
            Operation::AlterTable { table, .. } => Some(table),
            Operation::Drop { object, .. } => Some(object),
            _ => None,
        });
        for object in touched.cloned().collect::<Vec<_>>() {
            let mut open = self.history.migrations.iter().filter(|past| !past.is_over());
            let needs = open
                .find(|past| past.is_blue(&object) || [&past.green, &past.view].contains(&&object));
            let says = match needs {
                Some(past) => {
                    format!("the migration {} is not over, and needs it as it is", past.id)
                }
                None if self.history.has_parked(&object) => {
                    "`teal cleanup` has put it aside, and drops it when its time is over".to_owned()
                }
                None => continue,
            };
            self.found(&object, true, says, "make the plan anew".to_owned());
        }
    }
}
