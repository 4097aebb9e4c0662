//! Typed access to the metadata: a missing or wrongly typed key is an error with the key's name.
use super::ModelError;
use crate::{Array, Gguf, Value};

/// Reads keys under one prefix (`granitehybrid.` or nothing).
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
