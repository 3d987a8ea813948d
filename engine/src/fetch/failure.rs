//! Why a source gave nothing, told apart as far as it matters: whether it will heal, and what to tell.

use std::error::Error;
use std::fmt;
use std::io;

use http::StatusCode;

use crate::address::{AddressError, Meaning};

/// Why there are no first bytes. No message carries the address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The source refuses us (401, 403, a file that we may not read); it won't heal.
    #[error("the source refused the request ({status})")]
    Refused {
        /// Its status.
        status: u16,
    },
    /// The source has nothing there (404, 410, a missing file); it won't heal.
    #[error("the source has nothing at this address ({status})")]
    NotFound {
        /// Its status.
        status: u16,
    },
    /// The source answered with another status that is no success.
    #[error("the source answered with status {status}")]
    Status {
        /// Its status.
        status: u16,
    },
    /// There was no answer to speak of.
    #[error("the source can't be reached: {reason}")]
    Unreachable {
        /// What failed.
        reason: Reason,
    },
    /// The limit was reached first.
    #[error("the source did not answer in time")]
    TimedOut,
    /// The address, or one that the source redirected to, is not allowed.
    #[error(transparent)]
    Forbidden(AddressError),
    /// The answer has no body.
    #[error("the source's answer is empty")]
    Empty,
}

/// What failed between us and a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its name could not be resolved.
    Dns,
    /// Nobody listens there.
    Refused,
    /// The connection could not be made for another cause.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The connection ended too soon.
    Closed,
    /// What came is not HTTP as it should be.
    Protocol,
    /// It redirects without end.
    Redirects,
    /// It sends something else than the part that was asked for.
    Part,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "its host can't be found",
            Self::Refused => "connection refused",
            Self::Connect => "no connection",
            Self::Tls => {
                "the TLS handshake failed (`input.tls_verify` decides whether its certificate matters)"
            }
            Self::Closed => "it closed the connection",
            Self::Protocol => "its answer is not valid HTTP",
            Self::Redirects => "it redirects too often",
            Self::Part => "it does not send the part of the file that was asked for",
        })
    }
}

impl From<AddressError> for FetchError {
    fn from(error: AddressError) -> Self {
        match error.meaning() {
            Meaning::Forbidden => Self::Forbidden(error),
            Meaning::NotFound => Self::NotFound { status: 404 },
            Meaning::Unreachable => Self::unreachable(Reason::Dns),
            // Addresses of clients are checked before: this one came from a redirect.
            Meaning::Bad => Self::unreachable(Reason::Protocol),
        }
    }
}

impl FetchError {
    pub(super) fn unreachable(reason: Reason) -> Self {
        Self::Unreachable { reason }
    }

    pub(super) fn of_status(status: StatusCode) -> Self {
        let number = status.as_u16();
        match number {
            401 | 403 => Self::Refused { status: number },
            404 | 410 => Self::NotFound { status: number },
            status => Self::Status { status },
        }
    }

    pub(super) fn of_file(error: &io::Error) -> Self {
        // A link at the end of a path without links has just been put there.
        if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
            return Self::Forbidden(AddressError::NotRegular);
        }
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound { status: 404 },
            io::ErrorKind::PermissionDenied => Self::Refused { status: 403 },
            _ => Self::unreachable(Reason::Closed),
        }
    }

    /// What the HTTP client's error comes from: it wraps what we and the system said in several layers.
    pub(super) fn of_client(error: &reqwest::Error) -> Self {
        let mut refused = false;
        let mut closed = false;
        for cause in chain(error) {
            if let Some(address) = cause.downcast_ref::<AddressError>() {
                return address.clone().into();
            }
            if cause.is::<rustls::Error>() {
                return Self::unreachable(Reason::Tls);
            }
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                refused |= io.kind() == io::ErrorKind::ConnectionRefused;
                closed |= matches!(
                    io.kind(),
                    io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe
                );
            }
            if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
                closed |= hyper.is_incomplete_message() || hyper.is_closed();
            }
        }
        match (error.is_timeout(), error.is_connect()) {
            (true, _) => Self::TimedOut,
            _ if refused => Self::unreachable(Reason::Refused),
            (_, true) => Self::unreachable(Reason::Connect),
            _ if closed => Self::unreachable(Reason::Closed),
            _ => Self::unreachable(Reason::Protocol),
        }
    }
}

/// An error and its causes. An I/O error hides the one it was made of: its `source` is that one's source.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn Error + 'static)| {
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match inside {
            Some(inside) => Some(inside as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}
