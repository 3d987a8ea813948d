//! The pipes of one child, read side by side: which comes next, and what a read gives.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe::Receiver;

use crate::mux::Reader;
use crate::session::cut::Rendition;

/// One pipe of the child.
pub(super) struct Source {
    pub pipe: Option<Receiver>,
    pub feeds: Feeds,
}

pub(super) enum Feeds {
    Progress,
    Log,
    /// A subtitle track as text.
    Text(u8),
    Media {
        rendition: Rendition,
        reader: Box<Reader>,
    },
}

/// What one read gave.
pub(super) enum Chunk {
    Progress(usize),
    Log(usize),
    /// Of a subtitle track, into the scratch.
    Text {
        track: u8,
        read: usize,
    },
    Media {
        source: usize,
        read: usize,
    },
    /// A pipe ended or broke.
    End(usize),
}

impl Chunk {
    /// The next bytes of any pipe that may be read. Text comes first: what was said before a picture must not be
    /// missed when that picture is published. The others take turns, but of the media the track that is
    /// `behind` comes first: a full pipe of quiet sound holds a minute, a full one of pictures a second.
    pub(super) async fn next(
        pipes: &mut [Source],
        turn: &mut usize,
        scratch: &mut [u8],
        media: bool,
        behind: Option<Rendition>,
    ) -> Self {
        std::future::poll_fn(|context| Self::poll(pipes, turn, scratch, media, behind, context)).await
    }

    fn poll(
        pipes: &mut [Source],
        turn: &mut usize,
        scratch: &mut [u8],
        media: bool,
        behind: Option<Rendition>,
        context: &mut Context<'_>,
    ) -> Poll<Self> {
        let count = pipes.len();
        for (place, source) in pipes.iter_mut().enumerate() {
            if let Feeds::Text(_) = source.feeds
                && let Poll::Ready(chunk) = source.poll(place, scratch, context)
            {
                return Poll::Ready(chunk);
            }
        }
        let slow = pipes
            .iter()
            .position(|source| source.rendition().is_some_and(|rendition| Some(rendition) == behind));
        for offset in 0..count {
            let place = (*turn + offset) % count;
            let is_media = pipes[place].rendition().is_some();
            if is_media && !media || matches!(pipes[place].feeds, Feeds::Text(_)) {
                continue;
            }
            for place in slow.filter(|_| is_media).into_iter().chain([place]) {
                if let Poll::Ready(chunk) = pipes[place].poll(place, scratch, context) {
                    *turn = place + 1;
                    return Poll::Ready(chunk);
                }
            }
        }
        Poll::Pending
    }
}

impl Source {
    fn rendition(&self) -> Option<Rendition> {
        match &self.feeds {
            Feeds::Media { rendition, .. } => Some(*rendition),
            Feeds::Progress | Feeds::Log | Feeds::Text(_) => None,
        }
    }

    fn poll(&mut self, place: usize, scratch: &mut [u8], context: &mut Context<'_>) -> Poll<Chunk> {
        let Some(pipe) = &mut self.pipe else { return Poll::Pending };
        let mut buffer = match &mut self.feeds {
            Feeds::Media { reader, .. } => ReadBuf::new(reader.room()),
            Feeds::Progress | Feeds::Log | Feeds::Text(_) => ReadBuf::new(scratch),
        };
        // A pipe that can't be read has ended, for whatever reason.
        let read = std::task::ready!(Pin::new(pipe).poll_read(context, &mut buffer))
            .map_or(0, |()| buffer.filled().len());
        Poll::Ready(match self.feeds {
            _ if read == 0 => Chunk::End(place),
            Feeds::Progress => Chunk::Progress(read),
            Feeds::Log => Chunk::Log(read),
            Feeds::Text(track) => Chunk::Text { track, read },
            Feeds::Media { .. } => Chunk::Media { source: place, read },
        })
    }
}
