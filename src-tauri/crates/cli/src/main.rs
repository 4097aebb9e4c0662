//! `chimera`: chat, convert, quantize, inspect, verify, bench, eval, tokenize.
mod args;
mod bench;
mod chat;
mod console;
mod convert;
mod digest;
mod error;
mod eval;
mod gguf_io;
mod inspect;
mod interrupt;
mod json_text;
mod lang;
mod model;
mod quant;
mod quantize;
mod tokenize;
mod verify;

use args::{Cli, Command, EvalCommand};
use clap::Parser;
use error::CliError;
use lang::Lang;
use std::process::ExitCode;

fn main() -> ExitCode {
    let lang = Lang::from_env();
    let cli = Cli::parse();
    interrupt::install();
    match run(cli.command, lang) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::note(format_args!("{}: {}", lang.pick("error", "त्रुटि"), error.sentence(lang)));
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: Command, lang: Lang) -> Result<(), CliError> {
    match command {
        Command::Convert(args) => convert_command(args),
        Command::Quantize(args) => quantize::run(&args.input, &args.output, args.r#type, args.embedding),
        Command::Chat(args) => chat::run(&args, lang),
        Command::Inspect(args) => inspect::run(&args.file, args.json),
        Command::Verify(args) => verify::run(&args.file, args.json, lang),
        Command::Bench(args) => bench::run(&args),
        Command::Eval(EvalCommand::Bpb(args)) => eval::bpb(&args),
        Command::Eval(EvalCommand::Logits(args)) => eval::logits(&args),
        Command::Tokenize(args) => tokenize::run(&args),
    }
}

fn convert_command(args: args::ConvertArgs) -> Result<(), CliError> {
    let directory_name = || {
        let full = args.dir.canonicalize().unwrap_or_else(|_| args.dir.clone());
        full.file_name().map_or_else(|| "chimera".to_owned(), |n| n.to_string_lossy().into_owned())
    };
    let general = convert::General {
        name: args.name.clone().unwrap_or_else(directory_name),
        license: args.license.clone(),
        languages: args.languages.clone(),
        parameters: 0,
    };
    convert::run(&args.dir, &args.out, args.r#type, general)
}
