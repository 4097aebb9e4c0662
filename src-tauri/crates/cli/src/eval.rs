//! `chimera eval`: bits per byte of a text, and raw logits for parity tests.
use crate::args::{BpbArgs, LogitsArgs};
use crate::error::{CliError, InputFault};
use crate::gguf_io::NewFile;
use crate::interrupt::Stoppable;
use crate::{console, model};
use chimera_engine::{CancelFlag, Session, TokenId};
use serde_json::json;
use std::io::Write;

/// Positions whose logits are held at once: 64 rows of 32,768 f32 are 8 MB.
const ROWS: usize = 64;

pub fn bpb(args: &BpbArgs) -> Result<(), CliError> {
    let bytes = std::fs::read(&args.file).map_err(|source| CliError::read(&args.file, source))?;
    let text = str::from_utf8(&bytes)
        .map_err(|_| CliError::BadInput { path: args.file.clone(), reason: InputFault::NotUtf8 })?;
    let model = model::open(&args.model)?;
    let tokens = model.tokenizer().encode(text);
    let context = args.context as usize;
    if context > model.info().context_length {
        return Err(CliError::Usage { option: "context", needs: "to be at most the model's context" });
    }
    if tokens.len() < context {
        return Err(CliError::TextTooShort {
            path: args.file.clone(),
            tokens: tokens.len(),
            needed: context,
        });
    }
    let mut session = Session::new(model);
    let mut total = Loss::default();
    for window in tokens.chunks_exact(context) {
        session.reset();
        total.add(&score_window(&mut session, window)?);
    }
    let bits_per_token = total.bits / total.tokens as f64;
    let bits_per_byte = bits_per_token * tokens.len() as f64 / bytes.len() as f64;
    if args.json {
        return console::line(
            json!({"bits_per_byte": bits_per_byte, "tokens": tokens.len(), "bytes": bytes.len(),
            "context": context, "scored_tokens": total.tokens, "bits_per_token": bits_per_token}),
        );
    }
    let (tokens, bytes) = (tokens.len(), bytes.len());
    console::line(format_args!(
        "{bits_per_byte:.4} bits per byte ({tokens} tokens, {bytes} bytes, context {context})"
    ))
}

/// Σ −log2 p over the tokens that were scored.
#[derive(Default)]
struct Loss {
    bits: f64,
    tokens: usize,
}

impl Loss {
    fn add(&mut self, other: &Self) {
        self.bits += other.bits;
        self.tokens += other.tokens;
    }
}

/// As llama-perplexity: the first half is context only; the logits at positions context/2 … context − 2 predict the
/// tokens after them.
fn score_window(session: &mut Session, window: &[TokenId]) -> Result<Loss, CliError> {
    let first = window.len() / 2;
    session.prefill(&window[..first], &CancelFlag::default(), &mut |_, _| {})?;
    let mut loss = Loss::default();
    let inputs = &window[first..window.len() - 1];
    let targets = &window[first + 1..];
    for (inputs, targets) in inputs.chunks(ROWS).zip(targets.chunks(ROWS)) {
        let logits = session.logits_all(inputs)?;
        let vocab = logits.len() / inputs.len();
        for (row, &target) in logits.chunks_exact(vocab).zip(targets) {
            loss.bits += bits(row, target as usize);
            loss.tokens += 1;
        }
    }
    Ok(loss)
}

/// −log2 softmax(logits)[target], in f64.
fn bits(logits: &[f32], target: usize) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from(l - max).exp()).sum();
    (sum.ln() - f64::from(logits[target] - max)) / std::f64::consts::LN_2
}

pub fn logits(args: &LogitsArgs) -> Result<(), CliError> {
    let bad = || CliError::BadInput { path: args.tokens_file.clone(), reason: InputFault::NotTokenIds };
    let text =
        std::fs::read(&args.tokens_file).map_err(|source| CliError::read(&args.tokens_file, source))?;
    let tokens: Vec<TokenId> = serde_json::from_slice(&text).map_err(|_| bad())?;
    let mut session = Session::new(model::open(&args.model)?);
    let stoppable = Stoppable::begin();
    let mut file = NewFile::create(&args.out)?;
    let failed = |source| CliError::write(&args.out, source);
    let mut out = file.writer();
    for chunk in tokens.chunks(ROWS) {
        stoppable.check()?;
        let bytes: Vec<u8> = session.logits_all(chunk)?.iter().flat_map(|l| l.to_le_bytes()).collect();
        out.write_all(&bytes).map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    drop(out);
    file.publish()
}

#[cfg(test)]
mod tests {
    use super::bits;

    #[test]
    fn bits_are_those_of_the_softmax() {
        assert!((bits(&[0.0; 8], 3) - 3.0).abs() < 1e-12);
        assert!((bits(&[3f32.ln(), 0.0], 0) - (4.0_f64 / 3.0).log2()).abs() < 1e-7);
        assert!((bits(&[1e30, 0.0], 0)).abs() < 1e-12, "no overflow");
    }
}
