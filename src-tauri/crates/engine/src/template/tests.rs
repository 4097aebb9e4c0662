//! Foreign templates: what real ones need, and that no template and no message can do harm.
use super::*;
use crate::error::TemplateError;
use crate::tokenizer::tests::byte_tokenizer;
use proptest::prelude::*;

/// As HuggingFaceTB/SmolLM2 carries it (Apache-2.0).
const SMOLLM2: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// What others do: whitespace control, namespaces, macros, slices, methods, tests, dates.
const RICH: &str = r#"{%- macro turn(role, text) %}<|im_start|>{{ role }}
{{ text }}<|im_end|>
{% endmacro %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(last=0, found=false) %}
{%- if messages[0].role == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = "" %}
{%- endif %}
{{- turn("system", "Today: " ~ date_string ~ "\n" ~ system) }}
{%- for message in messages[::-1] %}
    {%- if message.role == 'user' and not ns.found and not (message.content.startswith('<tool>')) %}
        {%- set ns.last = messages | length - 1 - loop.index0 %}
        {%- set ns.found = true %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if 'tool_calls' in message or tools is not none %}{{ raise_exception("no tools") }}{% endif %}
    {%- set content = message.content.split('</think>')[-1].lstrip('\n') if message.role == 'assistant' else message.content %}
    {{- turn(message.role, content) }}
    {%- if loop.index0 == ns.last %}{% break %}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking is true %}<think>
{% endif %}{% endif %}"#;

fn message(role: Role, content: &str) -> ChatMessage {
    ChatMessage { role, content: content.to_owned() }
}

fn asked(think: Think) -> Asked {
    Asked { think, now: Some(951_782_400) }
}

fn ids(source: &str, messages: &[ChatMessage]) -> Result<Vec<TokenId>, EngineError> {
    ForeignTemplate::new(source)?.render(byte_tokenizer(), messages, asked(Think::Auto))
}

fn error(source: &str) -> TemplateError {
    match ids(source, &[message(Role::User, "hello")]) {
        Err(EngineError::Template(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// The prompt with its control tokens spelled out.
fn shown(ids: &[TokenId]) -> String {
    let tokenizer = byte_tokenizer();
    let runs = ids.chunk_by(|a, b| !tokenizer.is_control(*a) && !tokenizer.is_control(*b));
    let text = runs.map(|run| match run {
        [id] if tokenizer.is_control(*id) => format!("[{}]", tokenizer.token(*id).unwrap()),
        run => tokenizer.decode(run),
    });
    text.collect()
}

#[test]
fn a_template_of_chatml_gives_the_prompt_of_the_rust_code() {
    let messages = [message(Role::System, "short"), message(Role::User, " नमस्ते <|im_end|> \n")];
    let chatml = render(byte_tokenizer(), &messages, Think::Auto).unwrap();
    assert_eq!(ids(SMOLLM2, &messages).unwrap(), chatml);
}

#[test]
fn a_rich_template_renders_as_in_python() {
    let messages = [
        message(Role::System, "  be brief\n"),
        message(Role::User, "hi"),
        message(Role::Assistant, "\nyes"),
        message(Role::User, " and? "),
    ];
    let template = ForeignTemplate::new(RICH).unwrap();
    let render = |now| {
        let asked = Asked { think: Think::On, now };
        shown(&template.render(byte_tokenizer(), &messages, asked).unwrap())
    };
    let turns = "[<|im_start|>]user\nhi[<|im_end|>]\n[<|im_start|>]assistant\nyes[<|im_end|>]\n\
                 [<|im_start|>]user\n and? [<|im_end|>]\n[<|im_start|>]assistant\n[<think>]\n";
    let system = |date: &str| format!("[<|im_start|>]system\nToday: {date}\nbe brief[<|im_end|>]\n{turns}");
    assert_eq!(render(Some(951_782_400)), system("29 Feb 2000"));
    assert_eq!(render(None), system("26 Jul 2024"));
}

#[test]
fn bos_is_there_once() {
    let mut data = crate::tokenizer::tests::byte_data(&[]);
    (data.bos, data.add_bos) = (Some(0), true);
    let tokenizer = Tokenizer::new(&data).unwrap();
    for source in ["{{ bos_token }}a", "a"] {
        let ids = ForeignTemplate::new(source).unwrap().render(&tokenizer, &[], asked(Think::Auto)).unwrap();
        assert_eq!(ids, [0, tokenizer.encode("a")[0]], "{source}");
    }
}

#[test]
fn the_contract_s_own_template_is_not_executed() {
    assert!(matches!(PromptFormat::new(Some(CONTRACT)), PromptFormat::ChatMl));
    assert!(matches!(PromptFormat::new(None), PromptFormat::ChatMl));
    assert!(matches!(PromptFormat::new(Some(SMOLLM2)), PromptFormat::Foreign(_)));
}

#[test]
fn a_template_may_refuse_a_conversation() {
    let refused = error("{{ raise_exception('only ' ~ messages[0].content) }}");
    assert_eq!(refused, TemplateError::Raised { message: "only hello".into() });
}

#[test]
fn a_broken_template_is_told_with_its_line() {
    assert!(matches!(error("a\n{% for %}"), TemplateError::Broken { line: 2, .. }));
    assert!(matches!(error("\n\n{{ messages | no_such_filter }}"), TemplateError::Broken { line: 3, .. }));
    assert!(matches!(error("{{ no_such.thing.at_all }}"), TemplateError::Broken { line: 1, .. }));
    assert!(matches!(error("{% include 'other' %}"), TemplateError::Broken { .. }), "there is no loader");
    assert!(matches!(error(&"x".repeat(300 << 10)), TemplateError::TooLong { .. }));
}

#[test]
fn hostile_templates_end_in_an_error() {
    let endless = [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x='a') %}{% for i in range(99999) %}{% set ns.x = ns.x + messages[0].content %}{% endfor %}",
        "{{ 'a' * 99999999 }}",
        "{{ 'a' * 90000000000 }}",
        "{{ range(100000) | join('a' * 100000) }}",
        "{{ 'aaaa' | replace('a', 'b' * 10000000) }}",
        "{% set ns = namespace(l=[]) %}{% for i in range(40) %}{% set ns.l = ns.l + ns.l + [1] %}{% endfor %}",
        "{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
        "{% macro f(n) %}{% for i in range(2) %}{{ f(n) }}{% endfor %}{% endmacro %}{{ f(1) }}",
        "{{ [[[[[[[[messages, messages] * 9] * 9] * 9] * 9] * 9] * 9] * 9] | tojson }}",
        "{{ 'x'.join(range(99999)) ~ ('%99999999d' | format(1)) }}",
    ];
    for source in endless {
        let found = error(source);
        assert!(
            matches!(
                found,
                TemplateError::TooMuchWork
                    | TemplateError::Broken { .. }
                    | TemplateError::OutputTooLong { .. }
            ),
            "{source}: {found:?}"
        );
    }
    let nested = format!("{{{{ ({}1{} }}}}", "(".repeat(20_000), ")".repeat(20_001));
    assert!(matches!(error(&nested), TemplateError::Broken { .. }));
}

/// Text in which markers are likely.
fn tricky() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "<|im_end|>",
        "<|im_start|>",
        "<|im_",
        "end|>",
        "<",
        "<|",
        "|>",
        "<think>",
        "</think>",
        "\u{fdd0}",
        "im_end",
        " ",
        "\n",
        "a",
        "क्",
        "{{ messages }}",
        "{% raw %}",
        "<|endoftext|>",
        "\u{fe0f}",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Puts half a marker on both sides of what a person wrote.
const CLOSE: &str = "{% for m in messages %}<|im_start|>user <|im_{{ m.content }}end|>{{ m.content | trim }}|><{{ m.content | upper | lower }}|im_end|>{% endfor %}";

proptest! {
    #[test]
    fn a_message_never_becomes_a_control_token(text in tricky()) {
        // Without one the template itself has written the whole marker.
        prop_assume!(!text.trim().is_empty());
        for source in [SMOLLM2, RICH, CLOSE] {
            let tokenizer = byte_tokenizer();
            let controls = |text: &str| {
                let ids = ids(source, &[message(Role::User, text)]).unwrap();
                ids.into_iter().filter(|id| tokenizer.is_control(*id)).collect::<Vec<_>>()
            };
            prop_assert_eq!(controls(&text), controls("x"), "{}", source);
        }
    }

    #[test]
    fn no_template_panics(source in "(\\{\\{|\\}\\}|\\{%|%\\}|for|in|if|set|endfor|endif|[a-z]|\\(|\\)|\\[|\\]|\\.|\\||'|~| |[0-9]|\\PC){0,40}") {
        let _ = ids(&source, &[message(Role::User, "hello")]);
    }
}
