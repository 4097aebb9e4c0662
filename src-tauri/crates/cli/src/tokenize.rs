//! `chimera tokenize`: the ids that ordinary text becomes.
use crate::args::TokenizeArgs;
use crate::console::Output;
use crate::error::{CliError, InputFault};
use crate::{console, gguf_io, model};
use chimera_engine::Tokenizer;
use std::io::Read;

pub fn run(args: &TokenizeArgs) -> Result<(), CliError> {
    let loaded = gguf_io::load(&model::locate(args.model.as_deref())?)?;
    let tokenizer = Tokenizer::new(&loaded.model.tokenizer)?;
    let text = args.text.clone().map_or_else(read_stdin, Ok)?;
    let ids = tokenizer.encode(&text);
    if args.json {
        return console::line(serde_json::json!(ids));
    }
    let mut out = Output::new();
    ids.iter().for_each(|&id| out.raw(&format!("{id}\t{:?}\n", tokenizer.decode(&[id]))));
    out.finish()
}

fn read_stdin() -> Result<String, CliError> {
    let mut bytes = Vec::new();
    let path = std::path::Path::new("<stdin>");
    std::io::stdin().read_to_end(&mut bytes).map_err(|source| CliError::read(path, source))?;
    String::from_utf8(bytes)
        .map_err(|_| CliError::BadInput { path: path.to_owned(), reason: InputFault::NotUtf8 })
}
