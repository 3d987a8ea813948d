//! The engine.
fn main() {
    if std::env::args_os().nth(1).is_some_and(|word| word == sluice_engine::launch::SUBCOMMAND) {
        sluice_engine::launch::main();
    }
}
