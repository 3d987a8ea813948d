//! The provider of the demonstration: a film with ranges, and a channel that ffmpeg sends at its own speed.

use std::io;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use sluice_tests::{Origin, media};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

/// Seconds of what is made; both go on for longer by repeating it.
const CLIP: u32 = 60;
/// How often the film repeats it: ten minutes to look at.
const ROUNDS: u32 = 9;

/// Serves both until it is dropped.
pub(crate) struct Provider {
    files: Origin,
    channel: String,
    tasks: [JoinHandle<()>; 2],
    _broadcaster: Child,
}

impl Provider {
    /// Makes both in `directory` and opens on free ports of loopback.
    pub(crate) async fn start(directory: &Path) -> anyhow::Result<Self> {
        let make = async |size, rate: &str, file: &str| {
            let (picture, sound) = (media::picture(size, rate, CLIP), media::sound(CLIP));
            let h264 = "-c:v libx264 -preset veryfast -crf 28 -g 50 -keyint_min 50 -sc_threshold 0 -c:a aac -b:a 96k";
            let mut arguments = vec!["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound];
            arguments.extend(h264.split_whitespace());
            arguments.push(file);
            ffmpeg(directory, &arguments).await
        };
        tokio::try_join!(make((640, 360), "25", "clip.mp4"), make((480, 270), "25", "channel.mp4"))?;
        let rounds = ROUNDS.to_string();
        let film =
            ["-stream_loop", &rounds, "-i", "clip.mp4", "-c", "copy", "-movflags", "+faststart", "film.mp4"];
        ffmpeg(directory, &film).await?;

        let mut broadcaster = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i", "channel.mp4", "-c", "copy"])
            .args(["-f", "mpegts", "-flush_packets", "1", "pipe:1"])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("could not start ffmpeg")?;
        let mut programme = broadcaster.stdout.take().context("ffmpeg has an output")?;
        // About ten seconds of a channel: a receiver that is further behind has been lost anyway.
        let (on_air, _) = broadcast::channel(512);
        let sender = on_air.clone();
        let sending = tokio::spawn(async move {
            let mut bytes = [0; 188 * 20];
            while let Ok(count @ 1..) = programme.read(&mut bytes).await {
                // Nobody watches: what is sent is lost, as on any channel.
                let _watchers = sender.send(Bytes::copy_from_slice(&bytes[..count]));
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.context("could not listen on loopback")?;
        let channel = format!("http://{}/channel.ts", listener.local_addr()?);
        let serving = tokio::spawn(serve(listener, on_air));
        let files = Origin::of(directory).await;
        Ok(Self { files, channel, tasks: [sending, serving], _broadcaster: broadcaster })
    }

    /// Where the film is.
    pub(crate) fn film(&self) -> String {
        self.files.url("/files/film.mp4")
    }

    /// Where the channel is.
    pub(crate) fn channel(&self) -> String {
        self.channel.clone()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn serve(listener: TcpListener, on_air: broadcast::Sender<Bytes>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let on_air = on_air.clone();
        connections.spawn(async move {
            let service = service_fn(move |_: Request<Incoming>| {
                let body = stream::unfold(on_air.subscribe(), |mut receiver| async move {
                    loop {
                        match receiver.recv().await {
                            Ok(bytes) => return Some((Ok::<_, io::Error>(Frame::data(bytes)), receiver)),
                            Err(RecvError::Lagged(_)) => {}
                            Err(RecvError::Closed) => return None,
                        }
                    }
                });
                let body = StreamBody::new(body).boxed_unsync();
                std::future::ready(Response::builder().header("content-type", "video/mp2t").body(body))
            });
            // A client that leaves is no fault of the provider.
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn ffmpeg(directory: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y"])
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("could not start ffmpeg")?;
    ensure!(made.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}
