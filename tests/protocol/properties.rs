//! What must hold.

use stateright::{Model, Property};

use crate::insert::{Insert, rows_of};
use crate::journal::Phase;
use crate::protocol::Protocol;
use crate::server::{Data, Name, Rows, World, counts};
use crate::teal::{Outcome, Process};

pub(crate) const EXACT: &str = "in the end, green has each row once";
pub(crate) const MERGES: &str = "in the end, merges are on";
pub(crate) const REFUSED: &str = "no command is refused for what teal itself has left";

pub(crate) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(
            "no row is twice in green before a cutover",
            |model: &Protocol, world: &World| {
                let is_before = !matches!(
                    world.phase,
                    Phase::CutoverOpened { .. }
                        | Phase::Carrying
                        | Phase::Complete
                        | Phase::CutOver
                );
                // What an undone cut has left in green is emptied before anything else happens there.
                let is_attached = !matches!(world.phase, Phase::Prepared { .. });
                !(is_before && is_attached)
                    || model
                        .times(world, Data::New)
                        .iter()
                        .zip(model.most())
                        .all(|(is, most)| *is <= most)
            },
        ),
        Property::always(EXACT, |model: &Protocol, world: &World| {
            !model.is_settled(world) || !is_done(world) || model.is_exact(world)
        }),
        Property::always(MERGES, |model: &Protocol, world: &World| {
            let on = world.may_merge(Data::Old) && world.may_merge(Data::New);
            !model.is_settled(world) || on
        }),
        Property::always(
            "a cut that was given up leaves nothing",
            |model: &Protocol, world: &World| {
                let gave_up = world.process == Process::Ended(Outcome::GaveUp);
                let is_clean = !world.has_view
                    && world.parts(Data::New).is_empty()
                    && world.parts(Data::Snapshot).is_empty()
                    && world.phase == Phase::Prepared { is_fence_open: false };
                !model.is_settled(world) || !gave_up || is_clean
            },
        ),
        Property::always("every state can go on", |model: &Protocol, world: &World| {
            let mut actions = Vec::new();
            model.actions(world, &mut actions);
            model.is_settled(world) || !actions.is_empty()
        }),
        Property::always(REFUSED, |_, world: &World| {
            !matches!(world.process, Process::Ended(Outcome::Refused(_)))
                && world.phase != Phase::Corrupt
        }),
        Property::sometimes("it is done", |_, world: &World| is_done(world)),
    ]
}

fn is_done(world: &World) -> bool {
    world.process == Process::Ended(Outcome::Done)
}

impl Protocol {
    /// How often each content is in a table.
    fn times(&self, world: &World, data: Data) -> [u8; Rows::BITS as usize] {
        self.by_content(counts(world.parts(data)))
    }

    fn by_content(&self, counts: [u8; Rows::BITS as usize]) -> [u8; Rows::BITS as usize] {
        let mut times = [0; Rows::BITS as usize];
        for (row, count) in counts.into_iter().enumerate() {
            times[self.content(1 << row).trailing_zeros() as usize] += count;
        }
        times
    }

    /// How often each content may be there at most.
    fn most(&self) -> [u8; Rows::BITS as usize] {
        self.each_once(Rows::MAX)
    }

    /// Nothing is under way any more.
    fn is_settled(&self, world: &World) -> bool {
        let have_ended =
            world.inserts.iter().all(|insert| matches!(insert, Insert::Ended | Insert::CutOff));
        matches!(world.process, Process::Ended(_)) && have_ended && world.merge.is_none()
    }

    /// The table that users know has each row once, and so has the other one, if it is to. Of an INSERT
    /// that died with its server nobody was told that it succeeded: its rows may be in the one and
    /// lack in the other, where repair copies them; but nowhere are they twice.
    fn is_exact(&self, world: &World) -> bool {
        let mut written = (0..self.setting.history).fold(0, |rows, row| rows | 1 << (8 + row));
        let mut cut_off = 0;
        for (number, insert) in world.inserts.iter().enumerate() {
            for part in 0..self.setting.inserts[number].parts {
                match insert {
                    Insert::CutOff => cut_off |= rows_of(number, part),
                    _ => written |= rows_of(number, part),
                }
            }
        }
        let is_current = self.setting.forwards_back && (self.setting.rows_tell || world.has_view);
        let is_kept = !world.is_exchanged || is_current;
        let forwarded = !self.filtered_rows();
        let is_within = |name, least: Rows, most: Rows| {
            let (least, most) = (self.each_once(least), self.each_once(most));
            let times = self.times(world, world.data(name));
            (0..times.len()).all(|row| (least[row]..=most[row]).contains(&times[row]))
        };
        let all = written | cut_off;
        let kept = if is_kept { written & forwarded } else { 0 };
        // What such an INSERT left in one table comes to the other one, if it ended before they were compared.
        let must_equal = self.setting.cut_offs > 0 && is_kept && world.phase == Phase::CutOver;
        let [blue, green] =
            [Name::Blue, Name::Green].map(|name| self.times(world, world.data(name)));
        (!must_equal || blue == green)
            && is_within(Name::Blue, written, all)
            && is_within(Name::Green, kept, all & forwarded)
    }

    fn each_once(&self, rows: Rows) -> [u8; Rows::BITS as usize] {
        self.by_content(std::array::from_fn(|row| u8::from(rows & 1 << row != 0)))
    }
}
