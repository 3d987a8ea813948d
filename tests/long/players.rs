//! Players of others play a film through: ffprobe, VLC and GStreamer, as Debian has them.
//!
//! A player that is not installed is said to be missing, and its test shows nothing: `just test-long` installs them.

#![expect(clippy::disallowed_methods, reason = "the rule is the engine's; a test may start a player")]
#![expect(clippy::print_stdout, reason = "a test that shows nothing says so")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::getuid;
use sluice_tests::frames::{assert_gapless, beeps, numbers, pictures, sound_behind_picture};
use sluice_tests::media::{FILM, RATE};
use sluice_tests::packets::packets;
use sluice_tests::splices::Order;
use sluice_tests::{Engine, Media, Origin};
use tokio::process::Command;

/// A player plays thirty seconds of film in as many; twice that is broken.
const LIMIT: Duration = Duration::from_secs(90);
/// A packet of sound at 48 kHz: first times may differ by one, beside what the source has itself.
const PACKET: f64 = 1024.0 / 48_000.0;

/// Pictures that VLC's remuxer may leave behind at the end.
const LEFT_BEHIND: usize = 12;

/// What each player plays: copied with pictures out of order, and encoded.
const FILMS: [&str; 2] = ["film.mp4", "sparse.mp4"];

struct Stage {
    _origin: Origin,
    _engine: Engine,
    /// The multivariant playlist and the transport stream's.
    addresses: [String; 2],
}

impl Stage {
    /// A film whose segments came from a run each, last to first, before any player asks.
    async fn set(file: &str) -> Self {
        let (origin, engine) = (Origin::start().await, sluice_tests::splices::engine().await);
        let started = engine.play(&origin.url(&format!("/files/{file}")), "movie").await;
        let stream = engine.stream(&started).await;
        sluice_tests::splices::fetch(stream.renditions().await, Order::Backwards).await;
        let path = |name: &str| engine.url(&format!("transcode/{}/{name}", started.session_id)).to_string();
        let addresses = [path("stream.m3u8"), path("ts.m3u8")];
        Self { _origin: origin, _engine: engine, addresses }
    }
}

/// Whether there is such a program. Says so where there isn't.
fn is_installed(player: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).any(|directory| directory.join(player).is_file());
    if !installed {
        println!("SKIPPED: {player} is not installed here, so nothing is shown of it");
    }
    installed
}

/// Runs a player to its end and answers what it wrote.
async fn run(player: &str, arguments: &[&str]) -> String {
    let ran = Command::new(player).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let ended = tokio::time::timeout(LIMIT, ran).await;
    let ended = ended.unwrap_or_else(|_| panic!("{player} does not end: {arguments:?}")).unwrap();
    let said = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{player} {arguments:?}: {said}");
    said.into_owned()
}

fn frames(file: &str) -> usize {
    let seconds = if file == "film.mp4" { FILM } else { 22 };
    (seconds * RATE) as usize
}

/// How far the source's own sound begins behind its picture, in seconds.
async fn offset(path: &Path) -> f64 {
    sound_behind_picture(&pictures(path).await, &beeps(path).await)
}

#[tokio::test]
async fn ffprobe_and_libavformat_read_it_through_in_sync() {
    for file in FILMS {
        let stage = Stage::set(file).await;
        let source = offset(&Media::ready().path(file)).await;
        for address in &stage.addresses {
            let shown = pictures(address.as_str()).await;
            let found: Vec<u16> = shown.iter().map(|picture| picture.number).collect();
            assert_eq!(found.len(), frames(file), "{address}");
            assert_gapless(&found);
            let behind = sound_behind_picture(&shown, &beeps(address.as_str()).await);
            assert!((behind - source).abs() < PACKET, "{address}: {behind} s, at the source {source} s");
            let first = async |stream| packets(address.as_str(), stream).await[0].pts.unwrap() as f64;
            // Both renditions begin together; ticks differ by container.
            if address.ends_with("ts.m3u8") {
                let apart = (first("v:0").await - first("a:0").await) / 90_000.0;
                assert!((apart - source).abs() <= PACKET + 0.001, "{address}: {apart} s apart");
            }
        }
    }
}

#[tokio::test]
async fn vlc_plays_it_through_in_sync() {
    if !is_installed("cvlc") {
        return;
    }
    for file in FILMS {
        let stage = Stage::set(file).await;
        let source = offset(&Media::ready().path(file)).await;
        for address in &stage.addresses {
            let place = tempfile::tempdir().unwrap();
            fs::set_permissions(place.path(), Permissions::from_mode(0o777)).unwrap();
            let copy = place.path().join("copy.ts");
            // What VLC reads, not what it draws: there is no screen here.
            let sout = format!("#std{{access=file,mux=ts,dst={}}}", copy.display());
            let home = format!("HOME={}", place.path().display());
            let vlc = ["cvlc", "--no-repeat", "--no-loop", "--sout", &sout, address, "vlc://quit"];
            // It refuses to be root.
            let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
            let nobody = if getuid().is_root() { &nobody[..] } else { &[] };
            let whole: Vec<&str> = [home.as_str()].iter().chain(nobody).chain(&vlc).copied().collect();
            run("env", &whole).await;
            let found = numbers(&*copy).await;
            // Its own remuxer may leave the last pictures behind, in the order of decoding; none is lost before.
            assert!(found.len() + LEFT_BEHIND >= frames(file), "{address}: {} frames", found.len());
            assert_gapless(&found[..found.len() - LEFT_BEHIND]);
            let behind = sound_behind_picture(&pictures(&*copy).await, &beeps(&*copy).await);
            assert!(
                (behind - source).abs() < PACKET + 0.002,
                "{address}: {behind} s, at the source {source} s"
            );
        }
    }
}

#[tokio::test]
async fn gstreamer_plays_it_through() {
    if !is_installed("gst-launch-1.0") {
        return;
    }
    for file in FILMS {
        let stage = Stage::set(file).await;
        for (playbin, address) in [
            ("playbin3", &stage.addresses[0]),
            ("playbin3", &stage.addresses[1]),
            ("playbin", &stage.addresses[0]),
        ] {
            let uri = format!("uri={address}");
            // Sinks that tell of each buffer and wait for nobody: the time it takes is not what is looked at.
            let video = "video-sink=fakesink name=picture silent=false sync=false";
            let audio = "audio-sink=fakesink name=sound silent=false sync=false";
            let said = run("gst-launch-1.0", &["-v", playbin, &uri, video, audio]).await;
            let chains = said.lines().filter(|line| line.contains("last-message = chain"));
            let (mut picture, mut sound) = (Vec::new(), Vec::new());
            for line in chains {
                let Some(at) = time_of(line) else { continue };
                if line.contains("picture") { picture.push(at) } else { sound.push(at) }
            }
            // Not each buffer is told of where they come quickly: what counts is that they go through to the end.
            let lasts = picture[picture.len() - 1] - picture[0];
            let seconds = frames(file) as f64 / f64::from(RATE);
            assert!(lasts > seconds - 0.5, "{playbin} {address}: {lasts} s of {seconds}");
            let hole = picture.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
            assert!(hole < 1.0, "{playbin} {address}: a hole of {hole} s");
            let apart = picture[0] - sound[0];
            assert!(apart.abs() < 0.25 && !sound.is_empty(), "{playbin} {address}: {apart} s apart");
        }
    }
}

/// The time in `… chain ******* (sink:sink) (123 bytes, dts: none, pts: 0:00:01.040000000, duration: …`.
fn time_of(line: &str) -> Option<f64> {
    let pts = line.split_once("pts: ")?.1.split(',').next()?;
    pts.split(':').try_fold(0.0, |all, part| Some(all * 60.0 + part.parse::<f64>().ok()?))
}
