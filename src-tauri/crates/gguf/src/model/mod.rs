//! The model contract: a file of a known family, every key in range, every tensor of the family's shape.
mod config;
mod error;
mod family;
mod keys;
mod tensors;
mod tokenizer;

pub use config::{Block, Ffn, Mixer, ModelConfig, RopeConfig, RopePairs, RopeScaling, SsmConfig};
pub use error::ModelError;
pub use family::Family;
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
        let config = ModelConfig::read(&gguf, &tokenizer)?;
        tensors::check(&gguf, &config)?;
        Ok(Self { config, tokenizer, gguf })
    }
}
