//! The journal, as its fold: what a process finds when it starts.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    Prepared {
        is_fence_open: bool,
    },
    /// Chunks that are published, one bit each, and the one whose publication was begun.
    Attached {
        published: u8,
        publishing: Option<u8>,
    },
    Backfilled,
    /// Parity was proven: where a cutover begins.
    Verified,
    /// Whether it is noted which parts both tables have.
    CutoverOpened {
        is_swapping: bool,
    },
    /// It is noted which parts are about to be attached.
    Carrying,
    /// The new table has every row, whatever the old one is like from now on.
    Complete,
    CutOver,
    /// Two entries of one number: every command refuses to work on it.
    Corrupt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Entry {
    FenceOpened,
    FenceUndone,
    Attached,
    Publishing(u8),
    Published(u8),
    Backfilled,
    Verified,
    CutoverOpened,
    Swapping,
    Carrying,
    Carried,
    Complete,
    CutoverUndone,
    CutOver,
}

impl Phase {
    pub(crate) fn after(self, entry: Entry) -> Self {
        use {Entry as E, Phase as P};
        match (self, entry) {
            (P::Prepared { .. }, E::FenceOpened) => P::Prepared { is_fence_open: true },
            (P::Prepared { .. }, E::FenceUndone) => P::Prepared { is_fence_open: false },
            (P::Prepared { .. }, E::Attached) => P::Attached { published: 0, publishing: None },
            (P::Attached { published, .. }, E::Publishing(chunk)) => {
                P::Attached { published, publishing: Some(chunk) }
            }
            (P::Attached { published, .. }, E::Published(chunk)) => {
                P::Attached { published: published | 1 << chunk, publishing: None }
            }
            (P::Attached { .. }, E::Backfilled) => P::Backfilled,
            (P::Backfilled, E::Verified) => P::Verified,
            (P::Verified, E::CutoverOpened) => P::CutoverOpened { is_swapping: false },
            (P::CutoverOpened { .. } | P::Carrying, E::Swapping) => {
                P::CutoverOpened { is_swapping: true }
            }
            (P::CutoverOpened { .. }, E::Carrying) => P::Carrying,
            (P::Carrying, E::Carried) => P::CutoverOpened { is_swapping: true },
            (P::CutoverOpened { .. }, E::CutoverUndone) => P::Backfilled,
            (P::CutoverOpened { .. }, E::Complete) => P::Complete,
            (P::CutoverOpened { .. } | P::Complete, E::CutOver) => P::CutOver,
            _ => P::Corrupt,
        }
    }
}
