//! End-to-end tests: the program itself, one process per command, on the embedded engine and against
//! servers.

// What a test did not expect may end it.
#![allow(clippy::unwrap_used, clippy::panic)]

mod alias;
mod altered;
mod bad_input;
mod bad_server;
mod change;
mod chaos;
mod circles;
mod columns;
mod databases;
mod diagnostics;
mod ends;
mod every;
mod every_write;
mod examples;
mod folded;
mod grants;
mod in_order;
mod interrupt;
mod kill;
mod life_cycle;
mod lost_answer;
mod odd_tables;
mod pipe;
mod plan_file;
mod preflight;
mod pull;
mod server;
mod server_exchange;
mod server_hazards;
mod server_killed;
mod server_migration;
mod server_sums;
mod servers;
mod shadow;
mod sizes;
mod stale;
mod story;
mod support;
mod throttle;
mod turn;
mod values;
mod way_back;
