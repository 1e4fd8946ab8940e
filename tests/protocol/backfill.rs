//! The backfill of a rewrite: chunks of the snapshot through a staging table into green, by
//! `backfill/publish.rs`.

use crate::journal::{Entry, Phase};
use crate::protocol::Protocol;
use crate::server::{Data, Name, Part, World};
use crate::step::{Flow, Step};

/// Each takes every other part of the snapshot.
pub(crate) const CHUNKS: u8 = 2;

/// The publication of the next chunk.
pub(crate) fn chunk() -> Vec<Step> {
    vec![
        Step::EmptyStaging,
        Step::CopyChunk,
        Step::StopMergesBySettings,
        Step::RecordPublishing,
        Step::AttachFirst,
        Step::AttachOthers,
        Step::RecordPublished,
        Step::RestoreMerges,
        Step::Advance,
    ]
}

/// What a process does first that finds an attached migration.
pub(crate) fn finish_publication() -> Vec<Step> {
    vec![Step::FinishPublication, Step::RecordPublished, Step::RestoreMerges, Step::Advance]
}

pub(crate) fn finish() -> Vec<Step> {
    vec![
        Step::RestoreMerges,
        Step::EmptyStaging,
        Step::Record(Entry::Backfilled),
        Step::DropSnapshot,
        Step::Advance,
    ]
}

/// The first chunk that is not in green.
pub(crate) fn next_chunk(published: u8) -> Option<u8> {
    (0..CHUNKS).find(|chunk| published & 1 << chunk == 0)
}

impl Protocol {
    pub(crate) fn execute_backfill(&self, world: &mut World, step: Step) -> Flow {
        let Phase::Attached { published, publishing } = world.phase else {
            // Adrift from before the end of the backfill: these two do no harm.
            match step {
                Step::RestoreMerges => world.stopped_by_settings[1] = false,
                Step::EmptyStaging => world.empty(Data::Staging),
                _ => (),
            }
            return Flow::Next;
        };
        let green = world.data(Name::Green);
        match step {
            Step::EmptyStaging => world.empty(Data::Staging),
            Step::CopyChunk => {
                if let Some(chunk) = next_chunk(published) {
                    let parts = world.parts(Data::Snapshot).to_vec();
                    let own = parts.iter().skip(usize::from(chunk)).step_by(usize::from(CHUNKS));
                    for part in own {
                        let rows = part.rows & !self.filtered_rows();
                        if rows != 0 {
                            let staged = Part { rows, has_uuid: true, ..*part };
                            world.add(Data::Staging, staged, self.setting.equal_rows);
                        }
                    }
                }
            }
            Step::StopMergesBySettings => world.stopped_by_settings[1] = true,
            Step::RestoreMerges => world.stopped_by_settings[1] = false,
            Step::RecordPublishing => {
                // A chunk whose rows the SELECT leaves out has nothing to publish.
                let is_empty = world.parts(Data::Staging).is_empty();
                if let Some(chunk) = next_chunk(published).filter(|_| !is_empty) {
                    self.record(world, Entry::Publishing(chunk));
                }
            }
            Step::RecordPublished => {
                if let Some(chunk) = publishing.or(next_chunk(published)) {
                    self.record(world, Entry::Published(chunk));
                }
            }
            Step::AttachFirst => {
                if let Some(part) = world.parts(Data::Staging).first().copied() {
                    world.add(green, part, self.setting.equal_rows);
                }
            }
            Step::AttachOthers => {
                for part in world.parts(Data::Staging).to_vec().into_iter().skip(1) {
                    world.add(green, part, self.setting.equal_rows);
                }
            }
            Step::FinishPublication => {
                // The staging table still has all parts of the chunk: it is emptied after `Published`.
                for part in world.parts(Data::Staging).to_vec() {
                    if !world.parts(green).contains(&part) {
                        world.add(green, part, self.setting.equal_rows);
                    }
                }
            }
            Step::FinishPublicationAsAWhole => {
                let staged = world.parts(Data::Staging).to_vec();
                if !staged.iter().all(|part| world.parts(green).contains(part)) {
                    for part in staged {
                        world.add(green, part, self.setting.equal_rows);
                    }
                }
            }
            _ => (),
        }
        Flow::Next
    }
}
