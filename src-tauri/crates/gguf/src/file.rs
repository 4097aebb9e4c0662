//! The parsed file: metadata and tensor infos, proven to describe exactly the bytes that are there.
use crate::cursor::Cursor;
use crate::{ALIGNMENT, Array, GgmlType, GgufError, Limits, MAGIC, Section, StringArray, VERSION, Value};
use crate::{ValueType, padding_after};
use std::collections::HashMap;
use std::ops::Range;

/// Key length, one byte of key, type tag, one byte of value.
const MIN_KV_BYTES: usize = 8 + 1 + 4 + 1;
/// Name length, one byte of name, dimension count, one dimension, element type, offset.
const MIN_TENSOR_INFO_BYTES: usize = 8 + 1 + 4 + 8 + 4 + 8;

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    pub name: String,
    /// `ne`: the fastest dimension first.
    pub dims: Vec<usize>,
    pub dtype: GgmlType,
    /// Where its bytes are in the file; always inside it.
    pub range: Range<usize>,
}

impl TensorInfo {
    pub fn elements(&self) -> usize {
        // Cannot overflow: the product was checked against `Limits::max_elements`.
        self.dims.iter().fold(1, |product, &n| product.saturating_mul(n))
    }

    /// The tensor's bytes in `file`, the bytes that were parsed; `None` if `file` is shorter than those.
    pub fn data<'a>(&self, file: &'a [u8]) -> Option<&'a [u8]> {
        file.get(self.range.clone())
    }
}

/// A parsed file. Keys and tensor names are unique, tensor ranges follow each other without overlap or hole,
/// all padding is zero and nothing comes after the last tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Gguf {
    metadata: Vec<(String, Value)>,
    tensors: Vec<TensorInfo>,
    key_index: HashMap<String, usize>,
    tensor_index: HashMap<String, usize>,
    file_len: usize,
}

impl Gguf {
    /// Parses a whole file.
    pub fn parse(file: &[u8], limits: &Limits) -> Result<Self, GgufError> {
        let mut cursor = Cursor::new(file, limits);
        let (n_tensors, n_kv) = read_header(&mut cursor)?;
        let (metadata, key_index) = read_metadata(&mut cursor, n_kv)?;
        check_alignment(&metadata)?;
        let (declared, tensor_index) = read_tensor_infos(&mut cursor, n_tensors)?;
        let tensors = place(declared, cursor.pos(), file)?;
        Ok(Self { metadata, tensors, key_index, tensor_index, file_len: file.len() })
    }

    /// Keys and values in file order.
    pub fn metadata(&self) -> &[(String, Value)] {
        &self.metadata
    }

    /// Tensors in file order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(*self.key_index.get(key)?).map(|(_, value)| value)
    }

    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(*self.tensor_index.get(name)?)
    }

    /// Length of the file that was parsed, in bytes.
    pub fn file_len(&self) -> usize {
        self.file_len
    }

    /// Elements of all tensors.
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().fold(0, |sum, t| sum.saturating_add(t.elements() as u64))
    }
}

fn read_header(cursor: &mut Cursor<'_>) -> Result<(usize, usize), GgufError> {
    let found = cursor.magic()?;
    if found != MAGIC {
        return Err(GgufError::BadMagic { found });
    }
    let version = cursor.u32(Section::Header)?;
    if version != VERSION {
        return Err(GgufError::UnsupportedVersion { found: version });
    }
    let n_tensors = cursor.u64(Section::Header)?;
    let n_kv = cursor.u64(Section::Header)?;
    let limits = cursor.limits();
    if n_tensors > limits.max_tensors {
        return Err(GgufError::TooManyTensors { count: n_tensors, max: limits.max_tensors });
    }
    if n_kv > limits.max_kv {
        return Err(GgufError::TooManyKeys { count: n_kv, max: limits.max_kv });
    }
    let n_kv = cursor.admit(Section::Key, n_kv, MIN_KV_BYTES)?;
    Ok((cursor.admit(Section::TensorInfo, n_tensors, MIN_TENSOR_INFO_BYTES)?, n_kv))
}

type Indexed<T> = (Vec<T>, HashMap<String, usize>);

fn read_metadata(cursor: &mut Cursor<'_>, n_kv: usize) -> Result<Indexed<(String, Value)>, GgufError> {
    let mut metadata = Vec::with_capacity(n_kv);
    let mut index = HashMap::with_capacity(n_kv);
    for i in 0..n_kv {
        let key = cursor.name(Section::Key, cursor.limits().max_key_bytes)?.to_owned();
        if index.insert(key.clone(), i).is_some() {
            return Err(GgufError::DuplicateKey { key });
        }
        let value = cursor.value(&key)?;
        metadata.push((key, value));
    }
    Ok((metadata, index))
}

fn check_alignment(metadata: &[(String, Value)]) -> Result<(), GgufError> {
    match metadata.iter().find(|(key, _)| key == "general.alignment") {
        None => Ok(()),
        Some((_, Value::U32(v))) if *v as usize == ALIGNMENT => Ok(()),
        Some((_, Value::U32(found))) => Err(GgufError::BadAlignment { found: *found }),
        Some((_, other)) => Err(GgufError::AlignmentType { found: other.value_type() }),
    }
}

impl Cursor<'_> {
    /// An array value: element type, length, elements. Nothing is allocated before the length was admitted.
    pub(crate) fn array_value(&mut self, key: &str) -> Result<Array, GgufError> {
        let element = self.value_type(key)?;
        let len = self.u64(Section::Value)?;
        if element == ValueType::Array {
            return Err(GgufError::NestedArray { key: key.to_owned() });
        }
        if len > self.limits().max_array_len {
            return Err(GgufError::ArrayTooLong {
                key: key.to_owned(),
                len,
                max: self.limits().max_array_len,
            });
        }
        let n = self.admit(Section::Value, len, element.min_bytes())?;
        self.elements(key, element, n)
    }

    fn elements(&mut self, key: &str, element: ValueType, n: usize) -> Result<Array, GgufError> {
        let section = Section::Value;
        Ok(match element {
            ValueType::U8 => Array::U8(self.take(section, n)?.to_vec()),
            ValueType::I8 => Array::I8(self.repeat(n, |c| c.i8(section))?),
            ValueType::U16 => Array::U16(self.repeat(n, |c| c.u16(section))?),
            ValueType::I16 => Array::I16(self.repeat(n, |c| c.i16(section))?),
            ValueType::U32 => Array::U32(self.repeat(n, |c| c.u32(section))?),
            ValueType::I32 => Array::I32(self.repeat(n, |c| c.i32(section))?),
            ValueType::F32 => Array::F32(self.repeat(n, |c| c.f32(section))?),
            ValueType::U64 => Array::U64(self.repeat(n, |c| c.u64(section))?),
            ValueType::I64 => Array::I64(self.repeat(n, |c| c.i64(section))?),
            ValueType::F64 => Array::F64(self.repeat(n, |c| c.f64(section))?),
            ValueType::Bool => Array::Bool(self.repeat(n, |c| c.boolean(key))?),
            ValueType::String => Array::String(self.strings(n)?),
            ValueType::Array => return Err(GgufError::NestedArray { key: key.to_owned() }),
        })
    }

    fn repeat<T>(
        &mut self,
        n: usize,
        read: impl Fn(&mut Self) -> Result<T, GgufError>,
    ) -> Result<Vec<T>, GgufError> {
        let mut out = Vec::with_capacity(n);
        for _ in 0..n {
            out.push(read(self)?);
        }
        Ok(out)
    }

    fn strings(&mut self, n: usize) -> Result<StringArray, GgufError> {
        let mut out = StringArray::with_capacity(n);
        for _ in 0..n {
            out.push(self.string(Section::Value, self.limits().max_string_bytes)?);
        }
        Ok(out)
    }
}

/// A tensor info whose place in the file is not checked yet.
struct Declared {
    name: String,
    dims: Vec<usize>,
    dtype: GgmlType,
    bytes: usize,
    offset: u64,
}

fn read_tensor_infos(cursor: &mut Cursor<'_>, n: usize) -> Result<Indexed<Declared>, GgufError> {
    let mut tensors = Vec::with_capacity(n);
    let mut index = HashMap::with_capacity(n);
    for i in 0..n {
        let tensor = read_tensor_info(cursor)?;
        if index.insert(tensor.name.clone(), i).is_some() {
            return Err(GgufError::DuplicateTensor { name: tensor.name });
        }
        tensors.push(tensor);
    }
    Ok((tensors, index))
}

fn read_tensor_info(cursor: &mut Cursor<'_>) -> Result<Declared, GgufError> {
    let section = Section::TensorInfo;
    let name = cursor.name(section, cursor.limits().max_name_bytes)?.to_owned();
    let dims = read_dims(cursor, &name)?;
    let id = cursor.u32(section)?;
    let Some(dtype) = GgmlType::from_id(id) else {
        return Err(GgufError::UnknownGgmlType { name, id });
    };
    let row = dims.first().copied().unwrap_or_default();
    // The element count is bounded by `read_dims`, so only a row of broken blocks can fail here.
    let Some(bytes) = dtype.tensor_bytes(&dims) else {
        return Err(GgufError::RowNotBlocks { name, row, dtype });
    };
    Ok(Declared { name, dims, dtype, bytes, offset: cursor.u64(section)? })
}

fn read_dims(cursor: &mut Cursor<'_>, name: &str) -> Result<Vec<usize>, GgufError> {
    let n_dims = cursor.u32(Section::TensorInfo)?;
    if !(1..=4).contains(&n_dims) {
        return Err(GgufError::BadDimCount { name: name.to_owned(), n_dims });
    }
    let dims = (0..n_dims).map(|_| cursor.u64(Section::TensorInfo)).collect::<Result<Vec<_>, _>>()?;
    if let Some(axis) = dims.iter().position(|&n| n == 0) {
        return Err(GgufError::ZeroDim { name: name.to_owned(), axis });
    }
    let max = cursor.limits().max_elements;
    let elements = dims.iter().try_fold(1u64, |product, &n| product.checked_mul(n));
    let sized: Option<Vec<usize>> = dims.iter().map(|&n| usize::try_from(n).ok()).collect();
    match (elements, sized) {
        (Some(elements), Some(sized)) if elements <= max => Ok(sized),
        _ => Err(GgufError::TensorTooLarge { name: name.to_owned(), dims, max }),
    }
}

/// Checks that the tensors, in file order, cover the data section exactly, and gives each its range.
///
/// Offsets must be the running sum of padded sizes, which llama.cpp's reader demands too. The file may end with
/// the last tensor's last byte (candle's writer) or with its padding (`gguf-py`, llama.cpp).
fn place(declared: Vec<Declared>, header_end: usize, file: &[u8]) -> Result<Vec<TensorInfo>, GgufError> {
    let data_start = header_end.saturating_add(padding_after(header_end));
    let mut end = header_end;
    let mut out = Vec::with_capacity(declared.len());
    for tensor in declared {
        let start = end.saturating_add(padding_after(end));
        let expected = start.saturating_sub(data_start);
        if usize::try_from(tensor.offset) != Ok(expected) {
            return Err(GgufError::BadOffset { name: tensor.name, found: tensor.offset, expected });
        }
        let tensor_end = start.checked_add(tensor.bytes).filter(|&e| e <= file.len());
        let Some(tensor_end) = tensor_end else {
            let end = (start as u128).saturating_add(tensor.bytes as u128);
            return Err(GgufError::TensorOutOfFile { name: tensor.name, start, end, len: file.len() });
        };
        check_zero(file, end..start)?;
        end = tensor_end;
        out.push(TensorInfo {
            name: tensor.name,
            dims: tensor.dims,
            dtype: tensor.dtype,
            range: start..tensor_end,
        });
    }
    check_end(file, end)?;
    Ok(out)
}

fn check_zero(file: &[u8], padding: Range<usize>) -> Result<(), GgufError> {
    let offset = padding.start;
    match file.get(padding) {
        Some(bytes) if bytes.iter().all(|&b| b == 0) => Ok(()),
        _ => Err(GgufError::PaddingNotZero { offset }),
    }
}

fn check_end(file: &[u8], end: usize) -> Result<(), GgufError> {
    let padded = end.saturating_add(padding_after(end));
    if file.len() != end && file.len() != padded {
        return Err(GgufError::TrailingBytes { end, len: file.len() });
    }
    check_zero(file, end..file.len())
}
