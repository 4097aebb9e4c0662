//! Tests of the parser, the writer and the model contract.
mod families;
mod fixture;
mod model;
mod parser;
mod properties;
mod tokenizer;
mod writer;
