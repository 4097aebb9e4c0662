//! The bounds that every number of a file must respect, in one place.

/// What a file may ask for. The defaults hold every real model with room to spare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Header, key-value pairs and tensor infos together.
    pub max_metadata_bytes: usize,
    pub max_kv: u64,
    pub max_tensors: u64,
    /// A key; the format itself allows 65,535.
    pub max_key_bytes: usize,
    /// A tensor name; ggml's `GGML_MAX_NAME` is 64 with the terminating zero.
    pub max_name_bytes: usize,
    /// One string, be it a token or a chat template.
    pub max_string_bytes: usize,
    pub max_array_len: u64,
    /// Elements of one tensor.
    pub max_elements: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_metadata_bytes: 64 << 20,
            max_kv: 4096,
            max_tensors: 65_536,
            max_key_bytes: 256,
            max_name_bytes: 63,
            max_string_bytes: 4 << 20,
            max_array_len: 4 << 20,
            max_elements: 1 << 40,
        }
    }
}
