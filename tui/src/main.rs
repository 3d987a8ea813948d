//! `sluice`, the operator's console: without a sub-command a screen, with one an answer for scripts.
//!
//! It talks to the engine's control socket and to nothing else.

mod app;
mod clean;
mod cli;
mod client;
mod condition;
mod dialog;
mod event;
#[cfg(test)]
#[path = "../tests/fake/mod.rs"]
mod fake;
mod filter;
mod format;
mod keymap;
mod layout;
mod logbook;
mod screen;
mod terminal;
mod theme;
mod update;
mod view;

use clap::Parser as _;

fn main() {
    let arguments = cli::Arguments::parse();
    // One thread is enough to wait on a socket and on keys.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let code = match runtime {
        Ok(runtime) => runtime.block_on(cli::run(arguments)),
        Err(error) => cli::report(&format!("the event loop could not be started: {error}")),
    };
    // Not by returning: a thread may stand in a write to a terminal that takes nothing.
    std::process::exit(code);
}
