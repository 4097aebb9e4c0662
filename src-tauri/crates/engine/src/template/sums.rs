//! `+` of templates, paid for. minijinja joins two lists without a copy and without fuel, so a list that is added to itself
//! forty times has 2⁴⁰ items for the price of forty steps. So every `a + b` of a template is rewritten to a function call that
//! copies, and pays.
use super::foreign::explain;
use crate::error::TemplateError;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind, State, machinery};
use serde_json::Value as Json;

pub(super) const FUNCTION: &str = "__plus";

/// Items that a step of fuel copies.
const ITEMS_PER_FUEL: usize = 4;

pub(super) fn rewrite(source: &str, syntax: &SyntaxConfig) -> Result<String, TemplateError> {
    let mut edits = Vec::new();
    collect(&tree(source, syntax)?, source, &mut edits)?;
    // At one place, what closes comes before what opens; else the order does not matter.
    edits.sort_by_key(|edit| (edit.at, edit.text != ")"));
    let (mut out, mut rest) = (String::with_capacity(source.len() * 2), 0);
    for edit in &edits {
        out.push_str(source.get(rest..edit.at).ok_or_else(lost)?);
        out.push_str(&edit.text);
        rest = edit.at + edit.skip;
    }
    out.push_str(source.get(rest..).ok_or_else(lost)?);
    // Whatever went wrong above, no sum is left.
    match edits.is_empty() || !has_sum(&tree(&out, syntax)?) {
        true => Ok(out),
        false => Err(lost()),
    }
}

struct Edit {
    at: usize,
    /// Bytes of the source that it replaces.
    skip: usize,
    text: String,
}

fn tree(source: &str, syntax: &SyntaxConfig) -> Result<Json, TemplateError> {
    let tree = machinery::parse(source, "chat_template", syntax.clone()).map_err(|e| explain(&e))?;
    serde_json::to_value(&tree).map_err(|_| lost())
}

fn lost() -> TemplateError {
    TemplateError::Broken { line: 0, detail: "a sum in it could not be followed".to_owned() }
}

fn is_sum(node: &Json) -> bool {
    node["expr"] == "BinOp" && node["inner"][0]["op"] == "Add"
}

fn children(node: &Json) -> Box<dyn Iterator<Item = &Json> + '_> {
    match node {
        Json::Array(items) => Box::new(items.iter()),
        Json::Object(fields) => Box::new(fields.values()),
        _ => Box::new(std::iter::empty()),
    }
}

fn has_sum(node: &Json) -> bool {
    is_sum(node) || children(node).any(has_sum)
}

fn collect(node: &Json, source: &str, edits: &mut Vec<Edit>) -> Result<(), TemplateError> {
    if is_sum(node) {
        let offset = |node: &Json, which: &str| {
            node["inner"][1][which].as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(lost)
        };
        let (start, end) = (offset(node, "start_offset")?, offset(node, "end_offset")?);
        let left = offset(&node["inner"][0]["left"], "end_offset")?;
        let right = offset(&node["inner"][0]["right"], "start_offset")?;
        let plus = source.get(left..right).and_then(|between| between.find('+')).ok_or_else(lost)?;
        edits.push(Edit { at: start, skip: 0, text: format!("{FUNCTION}(") });
        edits.push(Edit { at: left + plus, skip: 1, text: ",".to_owned() });
        edits.push(Edit { at: end, skip: 0, text: ")".to_owned() });
    }
    children(node).try_for_each(|child| collect(child, source, edits))
}

/// What `+` does, with lists copied.
pub(super) fn add(state: &State, left: &Value, right: &Value) -> Result<Value, Error> {
    let is_list = |v: &Value| matches!(v.kind(), ValueKind::Seq | ValueKind::Iterable);
    if is_list(left) && is_list(right) {
        let items = left.len().unwrap_or(0).saturating_add(right.len().unwrap_or(0));
        state.consume_fuel((items / ITEMS_PER_FUEL) as u64)?;
        return Ok(left.try_iter()?.chain(right.try_iter()?).collect());
    }
    if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
        state.consume_fuel((left.len() + right.len()) as u64 / 64)?;
        return Ok(Value::from([left, right].concat()));
    }
    let sum = match (left.as_i64(), right.as_i64()) {
        (Some(left), Some(right)) => left.checked_add(right).map(Value::from),
        _ => f64::try_from(left.clone())
            .ok()
            .zip(f64::try_from(right.clone()).ok())
            .map(|(l, r)| Value::from(l + r)),
    };
    sum.ok_or_else(|| {
        let detail = format!("{} and {} cannot be added", left.kind(), right.kind());
        Error::new(ErrorKind::InvalidOperation, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(source: &str) -> String {
        rewrite(source, &SyntaxConfig::default()).unwrap()
    }

    #[test]
    fn every_sum_becomes_a_call() {
        assert_eq!(rewritten("a + b {{ 'x' ~ y }}"), "a + b {{ 'x' ~ y }}");
        assert_eq!(rewritten("{{ a + b }}"), "{{ __plus(a , b) }}");
        assert_eq!(rewritten("{{ a + '+' + c }}"), "{{ __plus(__plus(a , '+') , c) }}");
        assert_eq!(rewritten("{{ (a + b) * (c+(d)) }}"), "{{ (__plus(a , b)) * (__plus(c,(d))) }}");
        assert_eq!(rewritten("{{ f(a + 1)[b + 2:] }}"), "{{ f(__plus(a , 1))[__plus(b , 2):] }}");
    }

    #[test]
    fn sums_are_what_they_were() {
        let mut environment = minijinja::Environment::new();
        environment.add_function(FUNCTION, add);
        let render = |source: &str| environment.render_str(&rewritten(source), ());
        assert_eq!(render("{{ 1 + 2 }} {{ 1.5 + 2 }} {{ 'नम' + 'स्ते' }}").unwrap(), "3 3.5 नमस्ते");
        assert_eq!(render("{{ ([1] + [2, 3])[1:] }} {{ ((1 + 2) * 3) + 4 }}").unwrap(), "[2, 3] 13");
        assert!(render("{{ 'a' + 1 }}").is_err());
        assert!(render("{{ a.b + 1 }}").is_err());
    }
}
