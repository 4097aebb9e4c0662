//! SHA-256 as lower-case hexadecimal.
use sha2::{Digest, Sha256};
use std::fmt::Write;

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
