//! Strict GGUF reading and writing. No I/O, no `unsafe`, no panic for any input.
#![forbid(unsafe_code)]
// PUBLIC API SKETCH (the owner of this crate replaces it, keeping these names):
//
// pub struct Limits { max_metadata_bytes, max_tensors, max_kv, max_string, max_array, ... }  impl Default
// pub enum Value { U8(u8) .. F64(f64), Bool(bool), String(String), Array(Array) }            typed accessors
// pub enum Array { U8(Vec<u8>), I32(Vec<i32>), F32(Vec<f32>), String(Vec<String>), ... }
// pub enum GgmlType { F32, F16, Bf16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4K, Q5K, Q6K, ... }       block_len(), block_bytes(), row_bytes(n)
// pub struct TensorInfo { name: String, dims: Vec<usize> /* ne, fastest first */, dtype: GgmlType, range: Range<usize> /* in the file */ }
// pub struct Gguf { metadata (ordered), tensors (file order) }   parse(&[u8], &Limits) -> Result<Gguf, GgufError>; get(key); tensor(name)
// pub struct ValidModel { pub config: ModelConfig, pub tokenizer: TokenizerData, pub gguf: Gguf }  ValidModel::from_gguf(Gguf)->Result<_, ModelError>
//     (architecture granitehybrid, dense; every required tensor present with the contract's shape; nothing unknown)
// pub struct Writer; Writer::new(); .kv(key, Value); .tensor(name, dims, dtype, byte_len); .write_header(&mut impl Write); then data in order with padding
