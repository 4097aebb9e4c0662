//! The template of a foreign file, in minijinja: no loader, no clock, and fuel that pays for every step and every byte.
//!
//! It is set up as Transformers sets up Jinja: `trim_blocks`, `lstrip_blocks`, loop controls, methods of Python's strings and
//! dictionaries, `raise_exception`, `strftime_now`, and `tojson` with Python's spacing.
use super::date::strftime;
use super::json::to_json;
use super::shield::{shield, unshield};
use super::sums;
use crate::error::TemplateError;
use crate::tokenizer::Piece;
use crate::{ChatMessage, EngineError, Think, TokenId, Tokenizer};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, context};
use std::collections::BTreeMap;

/// A template longer than this is none.
const MAX_SOURCE: usize = 256 << 10;
/// Steps of a render, before what the messages add; a step is an instruction, or 64 bytes of any string that is made. So
/// a template can make 13 MB at most, and runs for some milliseconds.
const FUEL: u64 = 200_000;
const FUEL_PER_MESSAGE: u64 = 2_000;
/// A message's bytes may be copied this often for one step more.
const FUEL_PER_BYTE: u64 = 1;
const RECURSION: usize = 64;
/// Text that is no message, of a whole prompt.
const MAX_FRAME: usize = 1 << 20;

pub(crate) struct ForeignTemplate {
    environment: Environment<'static>,
}

/// What is not in the messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub think: Think,
    /// Seconds since 1970, UTC; `None`: the template has no `strftime_now`.
    pub now: Option<i64>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

impl ForeignTemplate {
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_SOURCE {
            return Err(TemplateError::TooLong { bytes: source.len(), max: MAX_SOURCE });
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| explain(&e))?);
        environment.set_recursion_limit(RECURSION);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.add_function("raise_exception", raise_exception);
        environment.add_filter("tojson", tojson);
        // They put lists together without paying, as `+` does.
        environment.remove_filter("sum");
        environment.remove_filter("chain");
        environment.add_function(sums::FUNCTION, sums::add);
        environment
            .add_template_owned(NAME, sums::rewrite(source, environment.syntax())?)
            .map_err(|e| explain(&e))?;
        Ok(Self { environment })
    }

    /// The prompt's tokens: the texts of control tokens that the template writes become these tokens, all else is text.
    pub(super) fn render(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
        asked: Asked,
    ) -> Result<Vec<TokenId>, EngineError> {
        let text = self.text(tokenizer, messages, asked)?;
        let mut ids = Vec::new();
        tokenizer.cut_at_controls(&text, |piece| match piece {
            Piece::Token(id) => ids.push(id),
            Piece::Text(text) => tokenizer.encode_into(&unshield(text), &mut ids),
        });
        if let Some(bos) = tokenizer.leading_bos().filter(|bos| ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    fn text(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
        asked: Asked,
    ) -> Result<String, TemplateError> {
        let bytes: usize = messages.iter().map(|m| m.content.len()).sum();
        let fuel = FUEL + FUEL_PER_MESSAGE * messages.len() as u64 + FUEL_PER_BYTE * bytes as u64;
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        let template = environment.get_template(NAME).map_err(|e| explain(&e))?;
        let text = template.render(variables(tokenizer, messages, asked)).map_err(|e| explain(&e))?;
        // A message may be written twice and carries marks; beyond that, the rest is the template's own.
        match text.len() <= MAX_FRAME + 4 * bytes {
            true => Ok(text),
            false => Err(TemplateError::OutputTooLong { bytes: text.len(), max: MAX_FRAME + 4 * bytes }),
        }
    }
}

const NAME: &str = "chat_template";

/// The names that Transformers gives a template.
fn variables(tokenizer: &Tokenizer, messages: &[ChatMessage], asked: Asked) -> Value {
    let message = |m: &ChatMessage| {
        let content = shield(tokenizer, &m.content);
        let role = Value::from(super::role_name(m.role));
        Value::from(BTreeMap::from([("role", role), ("content", Value::from(content))]))
    };
    let token = |id: Option<TokenId>| id.and_then(|id| tokenizer.token(id)).unwrap_or_default().to_owned();
    let mut extra = BTreeMap::new();
    if asked.think != Think::Auto {
        let on = Value::from(asked.think == Think::On);
        extra.insert("enable_thinking", on.clone());
        extra.insert("thinking", on);
    }
    if let Some(now) = asked.now {
        let function = move |format: String| strftime(&format, now);
        extra.insert("strftime_now", Value::from_function(function));
    }
    context! {
        messages => messages.iter().map(message).collect::<Vec<_>>(),
        add_generation_prompt => true,
        tools => Value::from(()),
        documents => Value::from(()),
        bos_token => token(tokenizer.bos()),
        eos_token => token(tokenizer.eos()),
        ..Value::from(extra)
    }
}

fn raise_exception(message: String) -> Result<Value, Error> {
    let message: String = message.chars().take(500).collect();
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Raised(message)))
}

fn tojson(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    to_json(value, indent.map(|n| n.min(8)))
}

pub(super) fn explain(error: &Error) -> TemplateError {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(e) = cause {
        if let Some(Raised(message)) = e.downcast_ref() {
            return TemplateError::Raised { message: unshield(message) };
        }
        if e.downcast_ref::<Error>().is_some_and(|e| e.kind() == ErrorKind::OutOfFuel) {
            return TemplateError::TooMuchWork;
        }
        cause = e.source();
    }
    let detail =
        error.detail().map_or_else(|| error.kind().to_string(), |d| format!("{}: {d}", error.kind()));
    TemplateError::Broken { line: error.line().unwrap_or(0), detail: detail.chars().take(300).collect() }
}
