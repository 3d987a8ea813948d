//! What went wrong with a run, in the session's terms: whose fault it is, and whether to try again.

use crate::address::Mask;
use crate::ffmpeg::{Fault as Failure, Input, Transport};
use crate::mux::SampleFault;
use crate::process::SpawnError;
use crate::session::cut::Misfit;
use crate::session::{Cause, Code, Fault, Heals};

/// A line of ffmpeg's as it may be shown: nothing secret of the address, nothing of where our files lie.
pub(in crate::session) fn shown(text: &str, input: &Input, mask: &Mask) -> String {
    let masked = mask.apply(text);
    match input.transport {
        Transport::File => {
            masked.replace(&format!("file:{}", input.address), "the file").replace(&input.address, "the file")
        }
        Transport::Http { .. } => masked.into_owned(),
    }
}

pub(in crate::session) fn misfit_fault(misfit: &Misfit) -> Fault {
    match misfit {
        Misfit::Protected => Fault::new(
            Code::Protected,
            Cause::Source,
            "the media is encrypted; it can't be played without its keys",
        )
        .heals(Heals::Never),
        Misfit::Sample(SampleFault::Torn) => Fault::new(
            Code::Truncated,
            Cause::Source,
            "the input is cut short or damaged: a picture in it is not whole",
        ),
        Misfit::Sample(_) => Fault::new(Code::Transcode, Cause::Source, misfit.to_string()),
        _ => Fault::new(Code::Transcode, Cause::Exit, format!("ffmpeg sent what was not planned: {misfit}")),
    }
}

pub(super) fn spawn_fault(error: &SpawnError) -> Fault {
    match error {
        SpawnError::NotFound(program) => {
            let reason = format!("`{}` is not installed or not where ffmpeg.path says", program.display());
            Fault::new(Code::FfmpegMissing, Cause::Config, reason).heals(Heals::Never)
        }
        SpawnError::Denied(program) => {
            let reason =
                format!("`{}` may not be run: look at ffmpeg.path and its permissions", program.display());
            Fault::new(Code::FfmpegMissing, Cause::Config, reason).heals(Heals::Never)
        }
        other => Fault::new(Code::Internal, Cause::Internal, format!("ffmpeg could not be started: {other}")),
    }
}

/// What ffmpeg complained of, in the session's terms. `played` tells an input that broke from one that never
/// was any.
pub(in crate::session) fn failure_fault(failure: Failure, line: &str, played: bool) -> Fault {
    let (code, cause, heals) = match failure {
        Failure::Auth => (Code::Refused, Cause::Source, Heals::Rarely),
        Failure::NotFound => (Code::NotFound, Cause::Source, Heals::Rarely),
        Failure::HostileInput => (Code::ForbiddenAddress, Cause::Source, Heals::Never),
        Failure::Drm => (Code::Protected, Cause::Source, Heals::Never),
        Failure::NotMedia | Failure::Truncated if !played => (Code::NotMedia, Cause::Source, Heals::Never),
        Failure::Truncated => (Code::Truncated, Cause::Source, Heals::Soon),
        Failure::NoStream | Failure::Undecodable if !played => {
            (Code::Unsupported, Cause::Source, Heals::Never)
        }
        Failure::Encoder | Failure::BadArguments => (Code::Transcode, Cause::Internal, Heals::Never),
        Failure::MissingFile | Failure::IsDirectory => (Code::NotFound, Cause::Source, Heals::Never),
        Failure::RateLimited
        | Failure::Refusal
        | Failure::ServerError
        | Failure::Dns
        | Failure::Refused
        | Failure::Timeout
        | Failure::Dropped
        | Failure::Tls
        | Failure::NoStream
        | Failure::Undecodable
        | Failure::NotMedia
        | Failure::Io => (Code::Unreachable, Cause::Source, Heals::Soon),
    };
    Fault::new(code, cause, format!("ffmpeg says: {line}")).heals(heals)
}
