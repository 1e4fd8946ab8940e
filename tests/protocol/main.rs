//! The protocols that keep every row, as a model: all interleavings within bounds are checked.
//! `docs/model-check.md` says what for, and how to read what it prints.
//!
//! # What is modelled
//!
//! The state is a [`server::World`]: two tables with their parts, teal's snapshot and staging table, the
//! view, the names, merges, the logs, the journal, and the process of teal. At any moment any of
//! these may make its next step:
//!
//! - an INSERT of a user ([`insert`]): it starts, finds its table, the view and the view's table one after
//!   another, and commits part by part;
//! - a merge ([`merger`]): two parts become one, unless merges are stopped;
//! - teal: the next [`step::Step`] of the routine that it is in. The routines are lists of steps, in the order
//!   of the code: [`fence`] (`fence/part_log.rs`), [`gate`] (`fence/gate.rs`), [`backfill`]
//!   (`backfill/publish.rs`), [`verify`] (`verify/`, `repair.rs`), [`exchange`] (`cutover.rs`). Which
//!   routine comes next is said by the journal, as in `Operator::heal` and `Operator::advance`;
//! - a crash of teal, before a statement or while the server is at it: the statement then goes on by
//!   itself ("adrift"). Or a lost connection, after which teal goes on; or a crash of the server, which
//!   cuts INSERTs off, and of whose log some is lost. teal dies with it, or goes on with the new one.
//!
//! The turn of the view ([`turn`]) is a smaller model of its own. So is what comes behind the copy of a
//! migration by alias ([`alias`]): the swap, the rollback, abort and cleanup. So is the lock ([`the_lock`]). So are
//! engines that go by the order of rows ([`order`]), for there it matters where in a table a row lies.
//!
//! # What is left out
//!
//! - A row is a bit, and a part is the set of its rows; values, partitions and columns do not matter to the
//!   protocols. Parts of equal rows are modelled where they matter (`Setting::equal_rows`).
//! - An entry of `part_log` is there as soon as its part is.
//! - A statement of teal happens at one moment, or not at all; only an ATTACH of several parts may happen
//!   in two.
//! - Time: a wait that has a bound may be given up whenever it is not over.
//! - There are a few INSERTs, merges, crashes and cuts, each used up once, so every history ends. That every
//!   state can go on is then the same as that no history ends in the middle.
//! - At the gate, a table of many partitions is cloned before, and what has changed since behind it (`clone.rs`): one
//!   clone here.
//! - A part has no block: that of a merged part is a later one than another table's last if it has rows which were not
//!   there then. The server forgets a part that a merge has replaced at once.
//! - A rollback's exchange, which has the steps of the cutover's.
//! - Mutations and what else changes blue's parts during a migration; more workers of the backfill than one;
//!   what engines that fold rows make of them.
//!
//! # Why it can be believed
//!
//! Each rule of a protocol has a test that breaks it, and asserts that the checker finds the history which
//! loses or doubles a row. So has the documented recipe, and so has a bare `EXCHANGE TABLES`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod alias;
mod alias_commands;
mod backfill;
mod check;
mod exchange;
mod fence;
mod gate;
mod insert;
mod journal;
mod merger;
mod mutant;
mod order;
mod process;
mod properties;
mod protocol;
mod server;
mod setting;
mod step;
mod teal;
mod the_alias;
mod the_exchange;
mod the_fence;
mod the_lock;
mod the_order;
mod turn;
mod verify;
