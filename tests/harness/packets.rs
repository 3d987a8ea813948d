//! The packets of a file, as ffprobe reads them: an independent eye on what is copied and on transport streams.

#![expect(clippy::disallowed_methods, reason = "the rule is the engine's; these are the tests' own tools")]

use std::process::Stdio;

use serde::Deserialize;
use tokio::process::Command;

use crate::frames::Input;

/// One packet.
#[derive(Debug, Clone, Deserialize)]
pub struct Packet {
    /// When it is shown, in ticks of its stream.
    pub pts: Option<i64>,
    /// When it is decoded, in ticks of its stream.
    pub dts: Option<i64>,
    /// ffprobe's letters: `K` for a key frame, `D` for one that is not to be shown.
    #[serde(default)]
    pub flags: String,
    /// Of its bytes.
    pub data_hash: String,
}

#[derive(Deserialize)]
struct Answer {
    packets: Vec<Packet>,
}

/// The packets of a stream, such as `v:0`, in the order of the file.
///
/// # Panics
///
/// Where ffprobe refuses.
pub async fn packets(input: impl Into<Input>, stream: &str) -> Vec<Packet> {
    let input = input.into();
    let probed = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", stream, "-show_data_hash", "CRC32", "-of", "json"])
        .args(["-show_entries", "packet=pts,dts,flags,data_hash"])
        .arg(&input.address)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("the tests need ffprobe");
    let said = String::from_utf8_lossy(&probed.stderr);
    assert!(probed.status.success(), "ffprobe could not read {}: {said}", input.address.display());
    serde_json::from_slice::<Answer>(&probed.stdout).expect("ffprobe writes JSON").packets
}

/// The hash of these bytes, as ffprobe writes it.
pub fn hash(bytes: &[u8]) -> String {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    });
    format!("CRC32:{:08x}", !crc)
}
