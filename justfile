# The names of everything we do. `just` alone lists them.

set shell := ["bash", "-euo", "pipefail", "-c"]

# The player that the browser test plays with, from npm.
hls_js := "1.7.4"

target := env("CARGO_TARGET_DIR", justfile_directory() / "target")

[private]
default:
    @just --justfile {{ quote(justfile()) }} --list --unsorted

# Plays a film and a live channel and opens the console on them. 4 minutes the first time (it builds), then 10 seconds.
demo: setup
    @echo "Building sluiced and sluice: about 3 minutes the first time on two cores, nothing afterwards."
    cargo build --workspace --bins
    @exec {{ quote(target / "debug/demo") }}

# All tests but those in a browser, with real ffmpeg. 8 minutes the first time (it builds), then under 5.
test: setup
    @echo "Building the programs and the tests: about 4 minutes the first time on two cores."
    @echo "Then the tests: under 5 minutes. The first run also makes the test media (half a minute)."
    cargo build --workspace --bins
    # Most of an end-to-end test is waiting: more of them than cores.
    RUST_TEST_THREADS=4 cargo test --workspace

# hls.js in headless Chromium plays what a real engine serves. 1 minute once things are built.
test-browser: (_need "ffmpeg" "nodejs" "npm" "chromium" "chromium-driver")
    npm install --prefix {{ quote(target / "browser") }} --no-save --no-audit --no-fund --ignore-scripts hls.js@{{ hls_js }}
    cargo build --workspace --bins
    SLUICE_HLS_JS={{ quote(target / "browser/node_modules/hls.js/dist/hls.min.js") }} cargo test -p sluice-tests --test browser

# The end-to-end tests over and over: what fails once in ten is a race. 5 minutes a round.
test-long rounds="10": setup
    cargo build --workspace --bins
    for round in $(seq {{ rounds }}); do echo "round $round of {{ rounds }}"; RUST_TEST_THREADS=4 cargo test -p sluice-tests --test it; done

# What CI checks before it tests: format, lints, documentation. 3 minutes the first time.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo clippy -p sluice-tests --test browser -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

# What the engine adds to ffmpeg's own time: `just bench start`. A release build first, then half a minute.
bench what: setup
    cargo build --release --workspace --bins
    @{{ quote(target / "release/bench") }} {{ quote(what) }}

# Runs the engine from here: `just run --config my.toml`.
run *arguments:
    cargo run -p sluice-engine --bin sluiced -- {{ arguments }}

# Runs the console from here: `just console`, `just console ls --json`.
console *arguments:
    cargo run -p sluice-tui --bin sluice -- {{ arguments }}

# Installs what the tests and the demo need besides Rust: ffmpeg and curl. Asks for nothing; a minute where missing.
setup: (_need "ffmpeg" "curl")

# Installs Debian packages whose programs are missing, where that is allowed; else says the one command to run.
[private]
_need *packages:
    #!/usr/bin/env bash
    set -euo pipefail
    missing=()
    for package in {{ packages }}; do
        case $package in
            chromium-driver) program=chromedriver ;;
            nodejs) program=node ;;
            *) program=$package ;;
        esac
        command -v "$program" >/dev/null || missing+=("$package")
    done
    if [ "${#missing[@]}" -eq 0 ]; then
        exit 0
    fi
    if ! command -v apt-get >/dev/null; then
        echo "Missing here: ${missing[*]}. Please install them with this system's package manager." >&2
        exit 1
    fi
    install="apt-get update && apt-get install --yes --no-install-recommends ${missing[*]}"
    if [ "$(id -u)" -eq 0 ]; then
        root=()
    elif sudo -n true 2>/dev/null; then
        root=(sudo -n)
    else
        echo "Missing here: ${missing[*]}. Run this once, then try again:" >&2
        echo "    sudo sh -c '$install'" >&2
        exit 1
    fi
    echo "Installing ${missing[*]}: about a minute."
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive sh -c "$install"
