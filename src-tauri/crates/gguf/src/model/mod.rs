//! The model contract: a dense `granitehybrid` file, every key in range, every tensor of the contract's shape.
mod config;
mod error;
mod keys;
mod tensors;
mod tokenizer;

pub use config::{LayerKind, ModelConfig, RopeConfig, RopeScaling, SsmConfig};
pub use error::ModelError;
pub use tokenizer::{TokenType, TokenizerData};

use crate::Gguf;

/// A file that the engine can run without checking anything again.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidModel {
    pub config: ModelConfig,
    pub tokenizer: TokenizerData,
    pub gguf: Gguf,
}

impl ValidModel {
    pub fn from_gguf(gguf: Gguf) -> Result<Self, ModelError> {
        let tokenizer = TokenizerData::read(&gguf)?;
        let config = ModelConfig::read(&gguf, tokenizer.tokens.len())?;
        tensors::check(&gguf, &config)?;
        Ok(Self { config, tokenizer, gguf })
    }
}
