# The names of everything we do. `just` alone lists them.

set shell := ["bash", "-euo", "pipefail", "-c"]

# The player that the browser test plays with, from npm.
hls_js := "1.7.4"

# The package on PyPI that carries ffmpeg 9.0.2.
imageio_ffmpeg := "0.8.1"

target := env("CARGO_TARGET_DIR", justfile_directory() / "target")

current_ffmpeg := target / "current-ffmpeg/ffmpeg"

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
    # One browser at a time: two on two cores paint late.
    SLUICE_HLS_JS={{ quote(target / "browser/node_modules/hls.js/dist/hls.min.js") }} RUST_TEST_THREADS=1 cargo test -p sluice-tests --test browser

# The films go through this system's ffmpeg and a current one; what fails once in ten is a race, so the rest goes round
# and round.

# All kinds of film in all orders, other people's players, the end-to-end tests over and over. 20 minutes, 5 more a round.
test-long rounds="10": setup (_need "vlc-bin" "vlc-plugin-base" "gstreamer1.0-tools" "gstreamer1.0-plugins-base" "gstreamer1.0-plugins-good" "gstreamer1.0-plugins-bad" "gstreamer1.0-libav") (test-films "") _current-ffmpeg
    @if [ -x {{ quote(current_ffmpeg) }} ]; then just --justfile {{ quote(justfile()) }} test-films {{ quote(current_ffmpeg) }}; fi
    for round in $(seq {{ rounds }}); do echo "round $round of {{ rounds }}"; RUST_TEST_THREADS=4 cargo test -p sluice-tests --test it; done

# Every kind of film and every player, with the ffmpeg that is named, else with the system's. 8 minutes.
test-films ffmpeg="":
    cargo build --workspace --bins
    {{ if ffmpeg == "" { "" } else { "SLUICE_FFMPEG=" + quote(ffmpeg) } }} RUST_TEST_THREADS=2 cargo test -p sluice-tests --test long -- --nocapture

# A current ffmpeg beside the system's, as the package imageio-ffmpeg on PyPI carries one; ffprobe stays the system's.
[private]
_current-ffmpeg:
    #!/usr/bin/env bash
    set -euo pipefail
    ffmpeg={{ quote(current_ffmpeg) }}
    if [ -x "$ffmpeg" ]; then
        exit 0
    fi
    place=$(dirname "$ffmpeg")
    mkdir -p "$place"
    if ! python3 -m pip --version >/dev/null 2>&1 ||
        ! python3 -m pip download --quiet --no-deps --dest "$place" {{ quote("imageio-ffmpeg==" + imageio_ffmpeg) }}; then
        echo "SKIPPED: a current ffmpeg comes from PyPI by pip, and pip can't be had here: shown with the system's only."
        exit 0
    fi
    python3 -m zipfile --extract "$place"/imageio_ffmpeg-*.whl "$place"
    cp "$place"/imageio_ffmpeg/binaries/ffmpeg-* "$ffmpeg"
    chmod +x "$ffmpeg"
    "$ffmpeg" -version | head -n 1

# What CI checks before it tests: format, lints, documentation. 3 minutes the first time.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo clippy -p sluice-tests --test browser --test long -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

# What the engine adds to ffmpeg's own time: `just bench start`, `just bench seek`. A release build, then a minute or two.
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
            vlc-bin) program=cvlc ;;
            gstreamer1.0-tools) program=gst-launch-1.0 ;;
            vlc-* | gstreamer1.0-*) [ -n "$(dpkg-query --show "$package" 2>/dev/null)" ] && continue ;;&
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
