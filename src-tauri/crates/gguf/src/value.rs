//! Metadata values. Arrays are stored compactly: an array never takes more memory than a small multiple of its
//! bytes in the file, and a list of strings is one allocation of text and one of end positions.
use std::fmt;

macro_rules! value_types {
    ($($variant:ident = $id:literal, $name:literal, $min:literal;)*) => {
        /// The type tag in front of a value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ValueType { $($variant,)* }

        impl ValueType {
            pub const fn from_id(id: u32) -> Option<Self> {
                match id { $($id => Some(Self::$variant),)* _ => None }
            }
            pub const fn id(self) -> u32 {
                match self { $(Self::$variant => $id,)* }
            }
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
            /// The fewest bytes one value takes in a file.
            pub const fn min_bytes(self) -> usize {
                match self { $(Self::$variant => $min,)* }
            }
        }
    };
}

value_types! {
    U8 = 0, "u8", 1;
    I8 = 1, "i8", 1;
    U16 = 2, "u16", 2;
    I16 = 3, "i16", 2;
    U32 = 4, "u32", 4;
    I32 = 5, "i32", 4;
    F32 = 6, "f32", 4;
    Bool = 7, "bool", 1;
    String = 8, "string", 8;
    Array = 9, "array", 12;
    U64 = 10, "u64", 8;
    I64 = 11, "i64", 8;
    F64 = 12, "f64", 8;
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    U64(u64),
    I64(i64),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// A homogeneous list. Nested lists are not part of the accepted format.
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    String(StringArray),
}

macro_rules! per_type {
    ($($variant:ident $ty:ty, $as_name:ident, $array_name:ident;)*) => {
        impl Value {
            pub const fn value_type(&self) -> ValueType {
                match self {
                    $(Self::$variant(_) => ValueType::$variant,)*
                    Self::String(_) => ValueType::String,
                    Self::Array(_) => ValueType::Array,
                }
            }
            $(
                /// The value, if it has exactly this type.
                pub const fn $as_name(&self) -> Option<$ty> {
                    match self { Self::$variant(v) => Some(*v), _ => None }
                }
            )*
        }
        impl Array {
            pub const fn element_type(&self) -> ValueType {
                match self {
                    $(Self::$variant(_) => ValueType::$variant,)*
                    Self::String(_) => ValueType::String,
                }
            }
            pub fn len(&self) -> usize {
                match self {
                    $(Self::$variant(v) => v.len(),)*
                    Self::String(v) => v.len(),
                }
            }
            $(
                /// The elements, if they have exactly this type.
                pub fn $array_name(&self) -> Option<&[$ty]> {
                    match self { Self::$variant(v) => Some(v), _ => None }
                }
            )*
        }
        $(
            impl From<$ty> for Value {
                fn from(v: $ty) -> Self { Self::$variant(v) }
            }
            impl From<Vec<$ty>> for Value {
                fn from(v: Vec<$ty>) -> Self { Self::Array(Array::$variant(v)) }
            }
        )*
    };
}

per_type! {
    U8 u8, as_u8, as_u8s;
    I8 i8, as_i8, as_i8s;
    U16 u16, as_u16, as_u16s;
    I16 i16, as_i16, as_i16s;
    U32 u32, as_u32, as_u32s;
    I32 i32, as_i32, as_i32s;
    F32 f32, as_f32, as_f32s;
    U64 u64, as_u64, as_u64s;
    I64 i64, as_i64, as_i64s;
    F64 f64, as_f64, as_f64s;
    Bool bool, as_bool, as_bools;
}

impl Value {
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(v) => Some(v),
            _ => None,
        }
    }
    pub const fn as_array(&self) -> Option<&Array> {
        match self {
            Self::Array(v) => Some(v),
            _ => None,
        }
    }
}

impl Array {
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    pub const fn as_strings(&self) -> Option<&StringArray> {
        match self {
            Self::String(v) => Some(v),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(v: &str) -> Self {
        Self::String(v.to_owned())
    }
}
impl From<String> for Value {
    fn from(v: String) -> Self {
        Self::String(v)
    }
}
impl From<StringArray> for Value {
    fn from(v: StringArray) -> Self {
        Self::Array(Array::String(v))
    }
}
impl From<Vec<String>> for Value {
    fn from(v: Vec<String>) -> Self {
        v.iter().collect::<StringArray>().into()
    }
}

/// A list of strings in two allocations, so that a million empty strings cost 8 bytes each and not 24.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StringArray {
    text: String,
    /// Where string `i` ends in `text`.
    ends: Vec<usize>,
}

impl StringArray {
    pub(crate) fn with_capacity(strings: usize) -> Self {
        Self { text: String::new(), ends: Vec::with_capacity(strings) }
    }
    pub fn push(&mut self, s: &str) {
        self.text.push_str(s);
        self.ends.push(self.text.len());
    }
    pub fn len(&self) -> usize {
        self.ends.len()
    }
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(previous) => *self.ends.get(previous)?,
            None => 0,
        };
        self.text.get(start..end)
    }
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + '_ {
        // `get` succeeds for every index below `len`; the default is never taken.
        (0..self.len()).map(|i| self.get(i).unwrap_or_default())
    }
}

impl fmt::Debug for StringArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<S: AsRef<str>> FromIterator<S> for StringArray {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut out = Self::default();
        strings.into_iter().for_each(|s| out.push(s.as_ref()));
        out
    }
}
