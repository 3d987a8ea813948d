//! A player that shows nothing: it fetches what a real one would, when a real one would, so that the sessions of
//! the demonstration have a viewer each and go on.

use std::time::Duration;

use anyhow::Context as _;
use m3u8_rs::Playlist;
use reqwest::{Client, Url};
use tokio::task::JoinHandle;

/// After something went wrong, such as an operator's stop, which is what the demonstration is for.
const PAUSE: Duration = Duration::from_secs(2);

/// Watches the stream at `address` until the task is aborted.
pub(crate) fn watch(address: &str) -> JoinHandle<()> {
    let address = address.to_owned();
    tokio::spawn(async move {
        let client =
            Client::builder().no_proxy().user_agent("sluice-demo-player").build().unwrap_or_default();
        loop {
            // A refusal is answered by asking again later, as players do.
            let _stopped = play(&client, &address).await;
            tokio::time::sleep(PAUSE).await;
        }
    })
}

/// Plays from the newest segment that is there (of a film: the first) to the end.
async fn play(client: &Client, address: &str) -> anyhow::Result<()> {
    let address = Url::parse(address)?;
    let text = fetch(client, &address).await?;
    let Ok((_, Playlist::MasterPlaylist(variants))) = m3u8_rs::parse_playlist(&text) else {
        anyhow::bail!("{address} is no multivariant playlist")
    };
    let audio = variants.alternatives.iter().find_map(|other| other.uri.as_deref());
    let video = variants.variants.first().map(|variant| variant.uri.as_str());
    let renditions: Vec<Url> =
        [video, audio].into_iter().flatten().map(|uri| address.join(uri)).collect::<Result<_, _>>()?;
    let mut next = None;
    loop {
        let mut shown = None;
        for rendition in &renditions {
            let text = fetch(client, rendition).await?;
            let Ok((_, Playlist::MediaPlaylist(list))) = m3u8_rs::parse_playlist(&text) else {
                anyhow::bail!("{rendition} is no media playlist")
            };
            let end = list.media_sequence + list.segments.len() as u64;
            let start = if list.playlist_type.is_some() { 0 } else { end.saturating_sub(1) };
            let wanted = (*next.get_or_insert(start)).max(list.media_sequence);
            if wanted >= end {
                if list.end_list {
                    return Ok(());
                }
                continue;
            }
            let segment = &list.segments[(wanted - list.media_sequence) as usize];
            fetch(client, &rendition.join(&segment.uri)?).await?;
            shown.get_or_insert((wanted, Duration::from_secs_f32(segment.duration.clamp(0.1, 30.0))));
        }
        match shown {
            Some((sequence, duration)) => {
                next = Some(sequence + 1);
                tokio::time::sleep(duration).await;
            }
            None => tokio::time::sleep(PAUSE / 4).await,
        }
    }
}

async fn fetch(client: &Client, address: &Url) -> anyhow::Result<Vec<u8>> {
    let answer = client.get(address.clone()).send().await?.error_for_status()?;
    Ok(answer.bytes().await.with_context(|| format!("{address} broke off"))?.to_vec())
}
