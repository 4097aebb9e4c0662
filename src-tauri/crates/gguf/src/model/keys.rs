//! Typed access to the metadata: a missing or wrongly typed key is an error with the key's name.
use super::ModelError;
use crate::{Array, Gguf, Value};

/// Reads keys under one prefix (`llama.`, `tokenizer.ggml.`, …).
pub(super) struct Keys<'a> {
    pub gguf: &'a Gguf,
    pub prefix: &'static str,
}

impl<'a> Keys<'a> {
    pub fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The value of `key` as `cast` sees it, `None` if the key is absent.
    pub fn optional<T>(
        &self,
        key: &str,
        expected: &'static str,
        cast: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        let key = self.full(key);
        let Some(value) = self.gguf.get(&key) else { return Ok(None) };
        let wrong = || ModelError::WrongType { key, expected, found: value.value_type() };
        cast(value).map(Some).ok_or_else(wrong)
    }

    pub fn required<T>(&self, key: &str, found: Result<Option<T>, ModelError>) -> Result<T, ModelError> {
        found?.ok_or_else(|| ModelError::MissingKey { key: self.full(key) })
    }

    pub fn has(&self, key: &str) -> bool {
        self.gguf.get(&self.full(key)).is_some()
    }

    pub fn inconsistent(&self, key: &str, found: i64, rule: &'static str) -> ModelError {
        ModelError::Inconsistent { key: self.full(key), found, rule }
    }

    /// One integer for every block: an array of that length, or one number that stands for all.
    pub fn ints(&self, key: &str, n_layer: usize) -> Result<Vec<i64>, ModelError> {
        if matches!(self.gguf.get(&self.full(key)), Some(Value::Array(_))) {
            return self.array_of_ints(key, n_layer);
        }
        Ok(vec![self.required(key, self.u32(key))?.into(); n_layer])
    }

    /// An array of u32 or i32 (gguf-py writes i32) with one element a block.
    pub fn array_of_ints(&self, key: &str, n_layer: usize) -> Result<Vec<i64>, ModelError> {
        let expected = "an array of u32 or i32";
        let array = self.required(key, self.array(key, expected))?;
        let values: Vec<i64> = match array {
            Array::U32(v) => v.iter().map(|&n| n.into()).collect(),
            Array::I32(v) => v.iter().map(|&n| n.into()).collect(),
            other => {
                let found = other.element_type();
                return Err(ModelError::WrongType { key: self.full(key), expected, found });
            }
        };
        if values.len() != n_layer {
            let (found, expected) = (values.len(), n_layer);
            return Err(ModelError::WrongLength { key: self.full(key), found, expected });
        }
        Ok(values)
    }

    pub fn u32(&self, key: &str) -> Result<Option<u32>, ModelError> {
        self.optional(key, "a u32", Value::as_u32)
    }

    pub fn bool(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.optional(key, "a bool", Value::as_bool)
    }

    pub fn str(&self, key: &str) -> Result<Option<&'a str>, ModelError> {
        self.optional(key, "a string", Value::as_str)
    }

    pub fn array(&self, key: &str, expected: &'static str) -> Result<Option<&'a Array>, ModelError> {
        self.optional(key, expected, Value::as_array)
    }

    /// A required count in `1..=max`.
    pub fn count(&self, key: &str, max: u32) -> Result<usize, ModelError> {
        let n = self.required(key, self.u32(key))?;
        self.in_range(key, n, 1, max)
    }

    pub fn in_range(&self, key: &str, n: u32, min: u32, max: u32) -> Result<usize, ModelError> {
        if !(min..=max).contains(&n) {
            let key = self.full(key);
            return Err(ModelError::OutOfRange { key, found: n.into(), min: min.into(), max: max.into() });
        }
        Ok(n as usize)
    }

    /// A finite f32; missing and 0 both mean `default`, as llama.cpp reads the multipliers.
    pub fn scale(&self, key: &str, default: f32) -> Result<f32, ModelError> {
        match self.optional(key, "an f32", Value::as_f32)? {
            None => Ok(default),
            Some(0.0) => Ok(default),
            Some(v) if v.is_normal() => Ok(v),
            Some(found) => Err(ModelError::BadFloat { key: self.full(key), found }),
        }
    }

    /// As [`Self::scale`], and positive.
    pub fn positive(&self, key: &str, default: f32) -> Result<f32, ModelError> {
        let v = self.scale(key, default)?;
        if v <= 0.0 {
            return Err(ModelError::BadFloat { key: self.full(key), found: v });
        }
        Ok(v)
    }
}
