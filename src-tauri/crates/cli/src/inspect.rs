//! `chimera inspect`: what a GGUF file says about itself. Any well-formed file can be shown, ours or not.
use crate::console::{self, Output};
use crate::digest::sha256;
use crate::error::CliError;
use crate::gguf_io;
use chimera_engine::check_types;
use chimera_gguf::{Array, Gguf, TensorInfo, ValidModel, Value};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Array elements that are shown before "…".
const SHOWN_ELEMENTS: usize = 8;
/// Arrays up to this length are shown whole (one number a block), longer ones in part.
const WHOLE: usize = 512;
/// Characters of a string that are shown before "…".
const SHOWN_CHARS: usize = 100;

pub fn run(path: &Path, as_json: bool) -> Result<(), CliError> {
    let (bytes, gguf) = gguf_io::parse(path)?;
    let digest = sha256(&bytes);
    let problem = problem_of(gguf.clone());
    if as_json {
        return console::line(report(path, &gguf, &digest, problem.as_deref()));
    }
    let mut out = Output::new();
    lines(path, &gguf, &digest, problem.as_deref()).iter().for_each(|line| out.raw(&format!("{line}\n")));
    out.finish()
}

/// Long arrays (the vocabulary) appear by type and length only.
/// Why the default backend would refuse the file.
fn problem_of(gguf: Gguf) -> Option<String> {
    match ValidModel::from_gguf(gguf) {
        Ok(model) => check_types(&model).err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

fn report(path: &Path, gguf: &Gguf, digest: &str, problem: Option<&str>) -> Json {
    let metadata: serde_json::Map<String, Json> =
        gguf.metadata().iter().map(|(key, value)| (key.clone(), json_value(value))).collect();
    let tensors: Vec<Json> = gguf.tensors().iter().map(json_tensor).collect();
    json!({
        "file": path.display().to_string(),
        "bytes": gguf.file_len(),
        "sha256": digest,
        "parameters": gguf.parameters(),
        "runnable": problem.is_none(),
        "problem": problem,
        "metadata": metadata,
        "tensors": tensors,
    })
}

fn json_tensor(tensor: &TensorInfo) -> Json {
    json!({
        "name": tensor.name, "dims": tensor.dims, "type": tensor.dtype.name(),
        "offset": tensor.range.start, "bytes": tensor.range.len(),
    })
}

fn json_value(value: &Value) -> Json {
    match value {
        Value::U8(v) => json!(v),
        Value::I8(v) => json!(v),
        Value::U16(v) => json!(v),
        Value::I16(v) => json!(v),
        Value::U32(v) => json!(v),
        Value::I32(v) => json!(v),
        Value::U64(v) => json!(v),
        Value::I64(v) => json!(v),
        Value::F32(v) => json_f32(*v),
        Value::F64(v) => json!(v),
        Value::Bool(v) => json!(v),
        Value::String(v) => json!(v),
        Value::Array(array) => json_array(array),
    }
}

/// The shortest decimal that reads back as this f32 (1e-5, not 9.999999747378752e-6).
fn json_f32(value: f32) -> Json {
    value.to_string().parse::<f64>().map_or(Json::Null, |v| json!(v))
}

fn json_array(array: &Array) -> Json {
    if array.len() > WHOLE {
        return json!({"type": format!("{}", array.element_type()), "length": array.len()});
    }
    match array {
        Array::U8(v) => json!(v),
        Array::I8(v) => json!(v),
        Array::U16(v) => json!(v),
        Array::I16(v) => json!(v),
        Array::U32(v) => json!(v),
        Array::I32(v) => json!(v),
        Array::U64(v) => json!(v),
        Array::I64(v) => json!(v),
        Array::F32(v) => v.iter().copied().map(json_f32).collect(),
        Array::F64(v) => json!(v),
        Array::Bool(v) => json!(v),
        Array::String(v) => v.iter().map(Json::from).collect(),
    }
}

fn lines(path: &Path, gguf: &Gguf, digest: &str, problem: Option<&str>) -> Vec<String> {
    let mut out = vec![
        path.display().to_string(),
        format!("  {} bytes, {} parameters", gguf.file_len(), gguf.parameters()),
        format!("  sha256 {digest}"),
        problem.map_or("  runs in Chimera".to_owned(), |p| format!("  does not run in Chimera: {p}")),
        "keys:".to_owned(),
    ];
    out.extend(gguf.metadata().iter().map(|(key, value)| format!("  {key} = {}", text_value(value))));
    out.push("tensors:".to_owned());
    out.extend(gguf.tensors().iter().map(|t| format!("  {:<32} {:<6} {:?}", t.name, t.dtype.name(), t.dims)));
    let total = |(dtype, (count, bytes))| format!("{dtype}: {count} tensors, {bytes} bytes");
    out.extend(totals(gguf).into_iter().map(total));
    out
}

fn totals(gguf: &Gguf) -> BTreeMap<&'static str, (usize, usize)> {
    let mut totals = BTreeMap::new();
    for tensor in gguf.tensors() {
        let (count, bytes) = totals.entry(tensor.dtype.name()).or_insert((0, 0));
        *count += 1;
        *bytes += tensor.range.len();
    }
    totals
}

/// Strings quoted and escaped, so that control characters of a hostile file never reach the terminal.
fn text_value(value: &Value) -> String {
    match value {
        Value::String(text) => shortened(text),
        Value::Array(array) => text_array(array),
        other => json_value(other).to_string(),
    }
}

fn shortened(text: &str) -> String {
    let shown: String = text.chars().take(SHOWN_CHARS).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("{shown:?}{more}")
}

fn text_array(array: &Array) -> String {
    let shown: Vec<String> = match array {
        Array::String(v) => v.iter().take(SHOWN_ELEMENTS).map(shortened).collect(),
        Array::I32(v) if v.len() > WHOLE => v.iter().take(SHOWN_ELEMENTS).map(i32::to_string).collect(),
        _ => json_array(array).as_array().into_iter().flatten().map(Json::to_string).collect(),
    };
    let more =
        if array.len() > shown.len() { format!(", … ({} in all)", array.len()) } else { String::new() };
    format!("[{}{more}]", shown.join(", "))
}
