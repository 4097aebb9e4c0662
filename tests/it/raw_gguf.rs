//! GGUF bytes put together by hand, so that they can be wrong in every way.

/// Value type ids.
pub const U8: u32 = 0;
pub const U32: u32 = 4;
pub const I32: u32 = 5;
pub const BOOL: u32 = 7;
pub const STRING: u32 = 8;
pub const ARRAY: u32 = 9;
pub const U64: u32 = 10;
/// Element type ids.
pub const F32: u32 = 0;
pub const Q4_0: u32 = 2;

#[derive(Clone)]
pub struct RawGguf {
    magic: [u8; 4],
    version: u32,
    n_tensors: Option<u64>,
    n_kv: Option<u64>,
    keys: Vec<Vec<u8>>,
    infos: Vec<Vec<u8>>,
    data: usize,
    tail: Vec<u8>,
}

pub fn gguf() -> RawGguf {
    RawGguf {
        magic: *b"GGUF",
        version: 3,
        n_tensors: None,
        n_kv: None,
        keys: vec![],
        infos: vec![],
        data: 0,
        tail: vec![],
    }
}

impl RawGguf {
    pub fn magic(mut self, magic: &[u8; 4]) -> Self {
        self.magic = *magic;
        self
    }
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }
    pub fn n_tensors(mut self, n: u64) -> Self {
        self.n_tensors = Some(n);
        self
    }
    pub fn n_kv(mut self, n: u64) -> Self {
        self.n_kv = Some(n);
        self
    }
    pub fn key(mut self, key: &[u8], type_id: u32, value: &[u8]) -> Self {
        self.keys.push([&string(key)[..], &type_id.to_le_bytes(), value].concat());
        self
    }
    pub fn array(self, key: &[u8], element: u32, len: u64, elements: &[u8]) -> Self {
        self.key(key, ARRAY, &[&element.to_le_bytes()[..], &len.to_le_bytes(), elements].concat())
    }
    pub fn tensor(mut self, name: &[u8], dims: &[u64], dtype: u32, offset: u64) -> Self {
        let mut info = string(name);
        info.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|n| info.extend(n.to_le_bytes()));
        info.extend(dtype.to_le_bytes());
        info.extend(offset.to_le_bytes());
        self.infos.push(info);
        self
    }
    /// Aligns and adds this many bytes of data.
    pub fn data(mut self, bytes: usize) -> Self {
        self.data = bytes;
        self
    }
    /// Bytes after everything else, not aligned.
    pub fn tail(mut self, bytes: &[u8]) -> Self {
        self.tail = bytes.into();
        self
    }
    pub fn build(self) -> Vec<u8> {
        let mut out = Vec::from(self.magic);
        out.extend(self.version.to_le_bytes());
        out.extend(self.n_tensors.unwrap_or(self.infos.len() as u64).to_le_bytes());
        out.extend(self.n_kv.unwrap_or(self.keys.len() as u64).to_le_bytes());
        self.keys.iter().chain(&self.infos).for_each(|part| out.extend(part));
        if self.data > 0 {
            out.resize(out.len().next_multiple_of(32) + self.data, 0);
        }
        out.extend(self.tail);
        out
    }
}

/// A length-prefixed string.
pub fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes(), bytes].concat()
}
