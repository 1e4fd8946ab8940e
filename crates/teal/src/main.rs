//! The command line. The only crate that prints: data on the standard output, all else on the
//! standard error.

mod cli;
mod commands;
mod config;
mod demo;
mod diagnose;
mod failure;
mod passing;
mod plan_text;
mod progress;
mod secrets;
mod show;
mod signals;
mod status_text;
mod target;
mod time_span;

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _failpoints = fail::FailScenario::setup();
    let cli = cli::Cli::read();
    match commands::run(&cli) {
        Ok(code) => code,
        Err(failure) => {
            signals::stay_if_ending();
            show::note(&failure.render(&cli.common.project));
            failure.exit_code()
        }
    }
}
