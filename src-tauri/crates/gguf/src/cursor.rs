//! A position in the bytes of a file that can only move forward, and never past the end.
use crate::{GgufError, Limits, Section, Value, ValueType};

pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    pos: usize,
    limits: &'a Limits,
}

macro_rules! numbers {
    ($($name:ident $ty:ty;)*) => {
        $(pub(crate) fn $name(&mut self, section: Section) -> Result<$ty, GgufError> {
            self.array(section).map(<$ty>::from_le_bytes)
        })*
    };
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], limits: &'a Limits) -> Self {
        Self { bytes, pos: 0, limits }
    }

    pub(crate) fn pos(&self) -> usize {
        self.pos
    }

    pub(crate) fn limits(&self) -> &'a Limits {
        self.limits
    }

    fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.pos)
    }

    /// The next `n` bytes.
    pub(crate) fn take(&mut self, section: Section, n: usize) -> Result<&'a [u8], GgufError> {
        let truncated = GgufError::Truncated { section, offset: self.pos, needed: n, len: self.bytes.len() };
        let Some(end) = self.pos.checked_add(n) else { return Err(truncated) };
        let Some(taken) = self.bytes.get(self.pos..end) else { return Err(truncated) };
        if end > self.limits.max_metadata_bytes {
            return Err(GgufError::MetadataTooLarge { max: self.limits.max_metadata_bytes });
        }
        self.pos = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, section: Section) -> Result<[u8; N], GgufError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(section, N)?);
        Ok(out)
    }

    numbers! {
        u8 u8; i8 i8; u16 u16; i16 i16; u32 u32; i32 i32; u64 u64; i64 i64; f32 f32; f64 f64;
    }

    pub(crate) fn magic(&mut self) -> Result<[u8; 4], GgufError> {
        self.array(Section::Header)
    }

    /// Admits `count` items that follow here only if that many of the smallest size fit in the file.
    pub(crate) fn admit(&self, section: Section, count: u64, min_bytes: usize) -> Result<usize, GgufError> {
        let remaining = self.remaining();
        let fits = usize::try_from(count)
            .ok()
            .filter(|n| n.checked_mul(min_bytes).is_some_and(|bytes| bytes <= remaining));
        fits.ok_or(GgufError::CountExceedsFile { section, offset: self.pos, count, min_bytes, remaining })
    }

    /// A length-prefixed UTF-8 string of at most `max` bytes.
    pub(crate) fn string(&mut self, section: Section, max: usize) -> Result<&'a str, GgufError> {
        let offset = self.pos;
        let len = self.u64(section)?;
        let fits = usize::try_from(len).ok().filter(|&n| n <= max);
        let n = fits.ok_or(GgufError::StringTooLong { section, offset, len, max })?;
        let bytes = self.take(section, n)?;
        std::str::from_utf8(bytes).map_err(|_| GgufError::NotUtf8 { section, offset })
    }

    /// A string that names something: not empty, printable ASCII.
    pub(crate) fn name(&mut self, section: Section, max: usize) -> Result<&'a str, GgufError> {
        let offset = self.pos;
        let name = self.string(section, max)?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(GgufError::BadName { section, offset });
        }
        Ok(name)
    }

    pub(crate) fn boolean(&mut self, key: &str) -> Result<bool, GgufError> {
        match self.u8(Section::Value)? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(GgufError::BadBool { key: key.to_owned(), found }),
        }
    }

    pub(crate) fn value_type(&mut self, key: &str) -> Result<ValueType, GgufError> {
        let id = self.u32(Section::Value)?;
        ValueType::from_id(id).ok_or_else(|| GgufError::UnknownValueType { key: key.to_owned(), id })
    }

    /// The value of `key`, its type tag first.
    pub(crate) fn value(&mut self, key: &str) -> Result<Value, GgufError> {
        let section = Section::Value;
        Ok(match self.value_type(key)? {
            ValueType::U8 => Value::U8(self.u8(section)?),
            ValueType::I8 => Value::I8(self.i8(section)?),
            ValueType::U16 => Value::U16(self.u16(section)?),
            ValueType::I16 => Value::I16(self.i16(section)?),
            ValueType::U32 => Value::U32(self.u32(section)?),
            ValueType::I32 => Value::I32(self.i32(section)?),
            ValueType::F32 => Value::F32(self.f32(section)?),
            ValueType::U64 => Value::U64(self.u64(section)?),
            ValueType::I64 => Value::I64(self.i64(section)?),
            ValueType::F64 => Value::F64(self.f64(section)?),
            ValueType::Bool => Value::Bool(self.boolean(key)?),
            ValueType::String => {
                Value::String(self.string(section, self.limits.max_string_bytes)?.to_owned())
            }
            ValueType::Array => Value::Array(self.array_value(key)?),
        })
    }
}
