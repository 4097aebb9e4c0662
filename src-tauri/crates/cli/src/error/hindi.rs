//! The sentences in Hindi. Causes that name the parts of a file (parser, contract, checkpoint) stay in English.
use super::{CliError, InputFault, list};
use chimera_engine::EngineError;
use std::path::Path;

pub fn sentence(error: &CliError) -> String {
    match error {
        CliError::SameFile { path } => {
            format!("{} इनपुट और आउटपुट दोनों है; फ़ाइल उसी जगह नहीं बदली जाती", show(path))
        }
        CliError::Usage { option, needs } => format!("--{option} को चाहिए: {needs}"),
        CliError::ModelMissing { path } => format!("{} पर कोई मॉडल फ़ाइल नहीं है", show(path)),
        CliError::NoModel { looked } => format!("कोई मॉडल नहीं मिला; यहाँ देखा गया: {}", list(looked)),
        CliError::Malformed { path, source } => format!("{} सही GGUF फ़ाइल नहीं है: {source}", show(path)),
        CliError::Contract { path, source } => {
            format!("{} ऐसा मॉडल नहीं है जिसे Chimera चला सके: {source}", show(path))
        }
        CliError::Checkpoint { dir, source } => format!("{} को बदला नहीं जा सकता: {source}", show(dir)),
        CliError::NotFinite { tensor, index } => format!("टेंसर {tensor} का मान {index} सीमित संख्या नहीं है"),
        CliError::TokenizerRoundTrip { text, found } => format!("टोकनाइज़र ने {text:?} को {found:?} बना दिया"),
        CliError::Requantize { tensor, dtype } => {
            format!("टेंसर {tensor} पहले से {dtype} है; F32, F16 या BF16 से शुरू करें")
        }
        CliError::RaggedRow { tensor, row, dtype } => format!(
            "टेंसर {tensor} की पंक्तियों में {row} मान हैं, जो {dtype} के {} मानों वाले ब्लॉक में नहीं बँटते; दूसरा प्रकार चुनें",
            dtype.block_len()
        ),
        CliError::TooLarge { tensor, value } => {
            format!("टेंसर {tensor} का मान {value} अपने प्रकार के लिए बहुत बड़ा है")
        }
        CliError::EmptyMessage => "संदेश खाली है".to_owned(),
        CliError::TextTooShort { path, tokens, needed } => {
            format!("{} में {tokens} टोकन हैं, एक खिड़की को {needed} चाहिए", show(path))
        }
        CliError::BadLine { path, line, reason } => format!("{}: पंक्ति {line}: {}", show(path), fault(reason)),
        CliError::BadInput { path, reason } => format!("{}: {}", show(path), fault(reason)),
        CliError::Read { path, source } => format!("{} को पढ़ा नहीं जा सकता: {source}", show(path)),
        CliError::Write { path, source } => format!("{} को लिखा नहीं जा सकता: {source}", show(path)),
        CliError::WriteGguf { path, source } => format!("{} को लिखा नहीं जा सकता: {source}", show(path)),
        CliError::DiskFull { path } => format!("{} के लिए डिस्क में जगह नहीं बची", show(path)),
        CliError::Engine(source) => engine(source),
        CliError::Probe { reason } => format!("पहले टोकन की जाँच विफल रही: {reason}"),
        CliError::PeerMissing { looked } => format!(
            "llama.cpp नहीं मिला (यहाँ देखा गया: {})। इसे ऐसे लगाएँ: pip install xllamacpp=={}; या llama.cpp को साझा लाइब्रेरी के साथ बनाएँ और उसका फ़ोल्डर, लाइब्रेरी या Python --peer से बताएँ",
            show(looked),
            crate::bench::PEER_VERSION
        ),
        CliError::PeerFailed { reason } => format!("llama.cpp विफल रहा: {reason}"),
        CliError::Interrupted => "रोक दिया गया".to_owned(),
    }
}

fn show(path: &Path) -> impl std::fmt::Display + '_ {
    path.display()
}

fn fault(fault: &InputFault) -> String {
    match fault {
        InputFault::Json(reason) => format!("सही JSON नहीं है: {reason}"),
        InputFault::NotUtf8 => "UTF-8 नहीं है".to_owned(),
        InputFault::NotObject => "JSON ऑब्जेक्ट नहीं है".to_owned(),
        InputFault::NoMessages => "\"messages\" नहीं है या सूची नहीं है".to_owned(),
        InputFault::Message { index, problem } => format!("संदेश {index}: {problem}"),
        InputFault::LastNotUser => "आख़िरी संदेश user का होना चाहिए".to_owned(),
        InputFault::NotTokenIds => "टोकन संख्याओं की सूची नहीं है".to_owned(),
        InputFault::TooLong { needed, limit } => {
            format!("बातचीत को {needed} टोकन चाहिए, मॉडल की सीमा {limit} है")
        }
    }
}

/// What a person can act on; the rest is for whoever reads the report.
fn engine(error: &EngineError) -> String {
    match error {
        EngineError::ModelMissing { path } => format!("{} पर कोई मॉडल फ़ाइल नहीं है", show(path)),
        EngineError::ModelUnreadable { path, source } => {
            format!("मॉडल {} पढ़ा नहीं जा सकता: {source}", show(path))
        }
        EngineError::ModelMalformed { path, reason } => {
            format!("{} सही GGUF फ़ाइल नहीं है: {reason}", show(path))
        }
        EngineError::ModelInvalid { path, reason } => {
            format!("{} ऐसा मॉडल नहीं है जिसे Chimera चला सके: {reason}", show(path))
        }
        EngineError::ForeignArchitecture { architecture, .. } => {
            format!("आर्किटेक्चर {architecture:?} नहीं चलता (केवल granitehybrid, falcon-h1, nemotron_h और llama)")
        }
        EngineError::UnknownPretokenizer { pre, supported } => {
            format!("प्री-टोकनाइज़र {pre:?} नहीं चलता (केवल {supported})")
        }
        EngineError::Template(reason) => format!("मॉडल का चैट टेम्पलेट नहीं चला: {reason}"),
        EngineError::UnknownCpuTier { name } => format!("CPU स्तर {name:?} अनजाना है"),
        EngineError::CpuTierUnavailable { name } => format!("CPU स्तर {name:?} इस मशीन पर नहीं है"),
        EngineError::OutOfMemory { bytes } => format!("मेमोरी कम पड़ी: {bytes} बाइट नहीं मिले"),
        EngineError::NotEnoughMemory { needed, available } => {
            let (needed, available) = (needed.div_ceil(1_000_000), available / 1_000_000);
            format!("पर्याप्त मेमोरी नहीं है: {needed} MB चाहिए, {available} MB उपलब्ध है")
        }
        EngineError::ContextFull { needed, limit } => {
            format!("{needed} टोकन मॉडल की सीमा {limit} में नहीं समाते")
        }
        EngineError::InvalidSampling { name, value } => format!("विकल्प {name} का मान {value} सीमा से बाहर है"),
        other => format!("मॉडल चलाने में गड़बड़ी: {other}"),
    }
}
