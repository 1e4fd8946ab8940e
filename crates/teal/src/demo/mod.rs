//! `teal demo`: the whole story on real data and under traffic, and the proof of how it ended.

mod data;
mod ledger;
mod proof;
mod report;
mod story;
mod traffic;

pub(crate) use story::run;
