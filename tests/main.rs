//! End-to-end tests: the program itself, on the embedded engine, one process per command.

// What a test did not expect may end it.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod examples;
mod kill;
mod story;
mod support;
