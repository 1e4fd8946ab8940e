//! End-to-end tests: the program itself, on the embedded engine, one process per command.

mod bad_input;
mod examples;
mod kill;
mod story;
mod support;
