//! Writing: declare keys and tensors, write the header, then the data in the declared order.
//!
//! The same declarations and bytes give the same file. Every tensor, the last one too, is padded with zeros to
//! [`ALIGNMENT`], as `gguf-py` and llama.cpp do.
use crate::{ALIGNMENT, Array, GgmlType, Limits, MAGIC, VERSION, Value, WriteError, padding_after};
use std::collections::HashSet;
use std::io::Write;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Declared {
    name: String,
    dims: Vec<usize>,
    dtype: GgmlType,
    bytes: usize,
}

/// The declared content of a file.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    keys: Vec<(String, Value)>,
    tensors: Vec<Declared>,
    seen_keys: HashSet<String>,
    seen_tensors: HashSet<String>,
}

impl Writer {
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a key. Keys are written in the order they were declared.
    pub fn kv(&mut self, key: &str, value: impl Into<Value>) -> Result<(), WriteError> {
        let value = value.into();
        check_name(key, Limits::default().max_key_bytes)?;
        if key == "general.alignment" && value.as_u32() != Some(ALIGNMENT as u32) {
            return Err(WriteError::BadAlignment);
        }
        if !self.seen_keys.insert(key.to_owned()) {
            return Err(WriteError::DuplicateKey { key: key.to_owned() });
        }
        self.keys.push((key.to_owned(), value));
        Ok(())
    }

    /// Declares a tensor (`dims` = `ne`, fastest first) and returns how many bytes its data takes.
    pub fn tensor(&mut self, name: &str, dims: &[usize], dtype: GgmlType) -> Result<usize, WriteError> {
        check_name(name, Limits::default().max_name_bytes)?;
        let bad_shape = || WriteError::BadShape { name: name.to_owned(), dims: dims.to_vec(), dtype };
        let plausible = (1..=4).contains(&dims.len()) && dims.iter().all(|&n| n > 0);
        let bytes = dtype.tensor_bytes(dims).filter(|_| plausible).ok_or_else(bad_shape)?;
        if !self.seen_tensors.insert(name.to_owned()) {
            return Err(WriteError::DuplicateTensor { name: name.to_owned() });
        }
        self.tensors.push(Declared { name: name.to_owned(), dims: dims.to_vec(), dtype, bytes });
        Ok(bytes)
    }

    /// The header with its padding, as bytes.
    pub fn header(&self) -> Result<Vec<u8>, WriteError> {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        put_len(&mut out, self.tensors.len());
        put_len(&mut out, self.keys.len());
        for (key, value) in &self.keys {
            put_string(&mut out, key);
            put_value(&mut out, value);
        }
        let mut offset = 0usize;
        for tensor in &self.tensors {
            put_tensor_info(&mut out, tensor, offset);
            offset = padded_end(offset, tensor.bytes).ok_or(WriteError::Overflow)?;
        }
        out.resize(padded_end(out.len(), 0).ok_or(WriteError::Overflow)?, 0);
        Ok(out)
    }

    /// Writes the header; the data follows through the returned writer.
    pub fn write_header<W: Write>(self, mut out: W) -> Result<DataWriter<W>, WriteError> {
        out.write_all(&self.header()?)?;
        Ok(DataWriter { out, tensors: self.tensors.into_iter() })
    }
}

/// Writes tensor data in the declared order.
#[derive(Debug)]
pub struct DataWriter<W> {
    out: W,
    tensors: std::vec::IntoIter<Declared>,
}

impl<W: Write> DataWriter<W> {
    /// Writes the whole data of the next tensor; the name guards against mixing up the order.
    pub fn tensor(&mut self, name: &str, data: &[u8]) -> Result<(), WriteError> {
        let Some(next) = self.tensors.next() else {
            return Err(WriteError::Undeclared { name: name.to_owned() });
        };
        if next.name != name {
            return Err(WriteError::WrongOrder { expected: next.name, found: name.to_owned() });
        }
        if next.bytes != data.len() {
            return Err(WriteError::WrongSize { name: next.name, expected: next.bytes, found: data.len() });
        }
        self.out.write_all(data)?;
        let zeros = [0u8; ALIGNMENT];
        self.out.write_all(zeros.get(..padding_after(data.len())).unwrap_or_default())?;
        Ok(())
    }

    /// Checks that every declared tensor was written, flushes, and gives the output back (to fsync it).
    pub fn finish(mut self) -> Result<W, WriteError> {
        if let Some(next) = self.tensors.next() {
            let missing = self.tensors.len().saturating_add(1);
            return Err(WriteError::Unfinished { missing, next: next.name });
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

fn padded_end(offset: usize, bytes: usize) -> Option<usize> {
    let end = offset.checked_add(bytes)?;
    end.checked_add(padding_after(end))
}

fn check_name(name: &str, max: usize) -> Result<(), WriteError> {
    if name.is_empty() || name.len() > max || !name.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(WriteError::BadName { name: name.to_owned() });
    }
    Ok(())
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&(len as u64).to_le_bytes());
}

fn put_string(out: &mut Vec<u8>, s: &str) {
    put_len(out, s.len());
    out.extend_from_slice(s.as_bytes());
}

fn put_tensor_info(out: &mut Vec<u8>, tensor: &Declared, offset: usize) {
    put_string(out, &tensor.name);
    out.extend_from_slice(&(tensor.dims.len() as u32).to_le_bytes());
    tensor.dims.iter().for_each(|&n| put_len(out, n));
    out.extend_from_slice(&tensor.dtype.id().to_le_bytes());
    put_len(out, offset);
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    out.extend_from_slice(&value.value_type().id().to_le_bytes());
    match value {
        Value::U8(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I8(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U16(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I16(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::F32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::F64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(v) => put_string(out, v),
        Value::Array(v) => put_array(out, v),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    out.extend_from_slice(&array.element_type().id().to_le_bytes());
    put_len(out, array.len());
    match array {
        Array::U8(v) => out.extend_from_slice(v),
        Array::I8(v) => put_all(out, v, |x| x.to_le_bytes()),
        Array::U16(v) => put_all(out, v, |x| x.to_le_bytes()),
        Array::I16(v) => put_all(out, v, |x| x.to_le_bytes()),
        Array::U32(v) => put_all(out, v, |x| x.to_le_bytes()),
        Array::I32(v) => put_all(out, v, |x| x.to_le_bytes()),
        Array::F32(v) => put_all(out, v, |x| x.to_le_bytes()),
        Array::U64(v) => put_all(out, v, |x| x.to_le_bytes()),
        Array::I64(v) => put_all(out, v, |x| x.to_le_bytes()),
        Array::F64(v) => put_all(out, v, |x| x.to_le_bytes()),
        Array::Bool(v) => put_all(out, v, |x| [u8::from(x)]),
        Array::String(v) => v.iter().for_each(|s| put_string(out, s)),
    }
}

fn put_all<T: Copy, const N: usize>(out: &mut Vec<u8>, values: &[T], bytes: impl Fn(T) -> [u8; N]) {
    values.iter().for_each(|&v| out.extend_from_slice(&bytes(v)));
}
