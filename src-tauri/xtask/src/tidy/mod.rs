//! What no compiler checks: the arrows between rooms, licences, where `unsafe` may be, how files begin
//! and how long they are.
mod arrows;
mod files;
mod licences;

use crate::workspace;
use anyhow::{Result, bail};

pub fn run() -> Result<()> {
    let metadata = workspace::metadata(&["--locked"])?;
    let mut findings = arrows::findings(&metadata);
    findings.extend(licences::findings(&metadata));
    findings.extend(files::findings()?);
    if findings.is_empty() {
        return Ok(());
    }
    for finding in &findings {
        eprintln!("   {finding}");
    }
    bail!("{} findings", findings.len())
}
