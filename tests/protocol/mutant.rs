//! Protocols that are not right, made of those that are.

use crate::protocol::Protocol;
use crate::step::Step;
use crate::teal::Routine;

impl Protocol {
    pub(crate) fn replace(mut self, step: Step, by: Step) -> Self {
        let steps = self.routines.values_mut().flatten().filter(|one| **one == step);
        let replaced = steps.map(|one| *one = by).count();
        assert!(replaced > 0, "there is no {step:?}");
        self
    }

    pub(crate) fn without(mut self, step: Step) -> Self {
        let mut removed = 0;
        for routine in self.routines.values_mut() {
            let before = routine.len();
            routine.retain(|one| *one != step);
            removed += before - routine.len();
        }
        assert!(removed > 0, "there is no {step:?}");
        self
    }

    /// Leaves out one of the routine's waits for INSERTs.
    pub(crate) fn without_wait(mut self, routine: Routine, number: usize) -> Self {
        let steps = self.routines.get_mut(&routine).unwrap();
        let mut waits = (0..steps.len())
            .filter(|at| matches!(steps[*at], Step::WaitForInserts | Step::WaitForTheLate));
        let at = waits.nth(number).unwrap();
        assert_eq!(steps[at - 1], Step::ListInserts);
        steps.drain(at - 1..=at);
        self
    }
}
