//! An engine that does what the test tells it, step by step.
use chimera_chat::{Engine, EngineFactory, LoadError, PromptTokens};
use chimera_engine::{
    CancelFlag, ChatMessage, Completion, EngineError, FinishReason, GenerateEvent, GenerateOptions,
    ModelInfo, Role, Think, TokenId,
};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

pub enum Step {
    Text(&'static str),
    Thinking(&'static str),
    End(FinishReason),
    Fail(EngineError),
    Panic,
}

/// What the factory does before there is an engine.
pub enum Load {
    At(mpsc::Receiver<()>),
    Fail(LoadError),
    Panic,
    Now,
}

/// What the engine was asked: the prompts, as text.
pub type Asked = Arc<Mutex<Vec<String>>>;

pub struct Factory {
    pub load: Load,
    pub steps: Option<mpsc::Receiver<Step>>,
    pub asked: Asked,
    pub context_length: usize,
}

impl EngineFactory for Factory {
    fn load(&mut self) -> Result<Box<dyn Engine>, LoadError> {
        match std::mem::replace(&mut self.load, Load::Now) {
            Load::At(gate) => drop(gate.recv()),
            Load::Fail(error) => return Err(error),
            Load::Panic => panic!("scripted panic at load"),
            Load::Now => {}
        }
        let info = ModelInfo { context_length: self.context_length, ..info() };
        Ok(Box::new(Scripted {
            info,
            steps: self.steps.take().unwrap(),
            asked: Arc::clone(&self.asked),
            rebuilt: 0,
        }))
    }
}

fn info() -> ModelInfo {
    ModelInfo {
        name: "scripted".into(),
        file_bytes: 1,
        parameters: 2,
        context_length: 0,
        vocab_size: 3,
        quantization: "Q4_0".into(),
        cpu_tier: "portable".into(),
        threads: 1,
    }
}

struct Scripted {
    info: ModelInfo,
    steps: mpsc::Receiver<Step>,
    asked: Asked,
    rebuilt: usize,
}

impl Engine for Scripted {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn tokens(&self) -> Arc<dyn PromptTokens> {
        Arc::new(Characters)
    }

    fn generate(
        &mut self,
        prompt: &[TokenId],
        options: &GenerateOptions,
        cancel: &CancelFlag,
        events: &mut dyn FnMut(GenerateEvent<'_>),
    ) -> Result<Completion, EngineError> {
        assert!(options.max_tokens > 0);
        self.asked.lock().unwrap().push(prompt.iter().filter_map(|c| char::from_u32(*c)).collect());
        events(GenerateEvent::Prefill { done: prompt.len(), total: prompt.len() });
        let mut completion = empty(prompt.len());
        completion.reused_tokens = self.rebuilt;
        loop {
            match self.steps.recv_timeout(Duration::from_millis(2)) {
                Ok(Step::Text(text)) => {
                    completion.text.push_str(text);
                    completion.completion_tokens += 1;
                    events(GenerateEvent::Text(text));
                }
                Ok(Step::Thinking(text)) => events(GenerateEvent::Thinking(text)),
                Ok(Step::End(finish)) => return Ok(Completion { finish, ..completion }),
                Ok(Step::Fail(error)) => return Err(error),
                Ok(Step::Panic) => panic!("scripted panic"),
                Err(mpsc::RecvTimeoutError::Timeout) if !cancel.is_cancelled() => {}
                Err(_) => return Ok(Completion { finish: FinishReason::Cancelled, ..completion }),
            }
        }
    }

    fn rebuild(&mut self) {
        self.rebuilt += 1;
    }
}

fn empty(prompt_tokens: usize) -> Completion {
    Completion {
        text: String::new(),
        thinking: String::new(),
        finish: FinishReason::Stop,
        prompt_tokens,
        reused_tokens: 0,
        completion_tokens: 0,
    }
}

/// One token a character; `u:` or `a:` before each message and `|` after it.
struct Characters;

impl PromptTokens for Characters {
    fn render(&self, messages: &[ChatMessage], _: Think) -> Result<Vec<TokenId>, EngineError> {
        let role = |message: &ChatMessage| if message.role == Role::User { "u:" } else { "a:" };
        let text: String = messages.iter().map(|m| format!("{}{}|", role(m), m.content)).collect();
        Ok(text.chars().chain("a:".chars()).map(u32::from).collect())
    }
}
