//! Which addresses may leave the application, and which may load inside it. A model's answer is
//! untrusted text: the check is here, where the page cannot reach it.
use chimera_chat::wire::{ErrorCode, WireError};
use url::Url;

/// Longer than any address a person would read, shorter than what a shell or an opener chokes on.
const MAX_URL_BYTES: usize = 4096;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("an address of {bytes} bytes is longer than {MAX_URL_BYTES}")]
    TooLong { bytes: usize },
    #[error("not an address")]
    Malformed,
    #[error("the scheme {scheme} is not opened")]
    Scheme { scheme: String },
    #[error("the system could not open the address: {reason}")]
    Opener { reason: String },
}

/// Opens a web or mail address with the person's own programs.
pub fn open(address: &str) -> Result<(), WireError> {
    parse(address).and_then(hand_over).map_err(|error| {
        tracing::warn!(%error, "a link was refused");
        WireError::new(ErrorCode::LinkRefused).with("url", address)
    })
}

fn hand_over(url: Url) -> Result<(), LinkError> {
    open::that_detached(url.as_str()).map_err(|error| LinkError::Opener { reason: error.to_string() })
}

/// An address is opened as the URL standard spells it, never as it was typed: no spaces, quotes or
/// control characters reach the opener, and it cannot be taken for an option or a file.
pub fn parse(address: &str) -> Result<Url, LinkError> {
    if address.len() > MAX_URL_BYTES {
        return Err(LinkError::TooLong { bytes: address.len() });
    }
    let url = Url::parse(address).map_err(|_| LinkError::Malformed)?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        "mailto" if !url.path().is_empty() => Ok(url),
        scheme => Err(LinkError::Scheme { scheme: scheme.to_owned() }),
    }
}

/// The application's own page; everything else is refused as a navigation. `dev_server` is the Vite
/// address of a build without `custom-protocol`.
pub fn is_own_page(url: &Url, dev_server: Option<&Url>) -> bool {
    let own = matches!(
        (url.scheme(), url.host_str(), url.port()),
        ("tauri", Some("localhost"), None) | ("http" | "https", Some("tauri.localhost"), None)
    );
    own || dev_server.is_some_and(|server| server.origin() == url.origin())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_web_and_mail_addresses() {
        for address in ["http://example.org/", "https://example.org/हिन्दी?q=1#a", "mailto:a@example.org"]
        {
            assert!(parse(address).is_ok(), "{address}");
        }
    }

    #[test]
    fn spells_an_address_the_standard_way() {
        let url = parse("https://example.org/a b\"c").map(|url| url.to_string());
        assert_eq!(url, Ok("https://example.org/a%20b%22c".to_owned()));
    }

    #[test]
    fn refuses_every_other_scheme() {
        let hostile = [
            "file:///etc/passwd",
            "javascript:alert(1)",
            "data:text/html,x",
            "smb://host/share",
            "ms-msdt:/id",
            "calculator://",
            "tauri://localhost",
            "JaVaScRiPt:alert(1)",
            " vbscript:x",
            "mailto:",
        ];
        for address in hostile {
            assert!(matches!(parse(address), Err(LinkError::Scheme { .. })), "{address}");
        }
    }

    #[test]
    fn refuses_what_is_no_address() {
        for address in ["", "example.org", "/etc/passwd", "--help", "http://", "https:// /"] {
            assert_eq!(parse(address), Err(LinkError::Malformed), "{address}");
        }
        let long = format!("https://example.org/{}", "a".repeat(MAX_URL_BYTES));
        assert_eq!(parse(&long), Err(LinkError::TooLong { bytes: long.len() }));
    }

    #[test]
    fn keeps_the_window_on_its_own_page() -> Result<(), url::ParseError> {
        let own = ["tauri://localhost/", "tauri://localhost/#/c/1", "http://tauri.localhost/"];
        let other = ["https://example.org/", "http://localhost:5173/", "tauri://localhost.example.org/"];
        let fake =
            ["http://tauri.localhost.example.org/", "http://tauri.localhost:81/", "about:blank", "data:,x"];
        for address in own {
            assert!(is_own_page(&Url::parse(address)?, None), "{address}");
        }
        for address in other.iter().chain(&fake) {
            assert!(!is_own_page(&Url::parse(address)?, None), "{address}");
        }
        let server = Url::parse("http://localhost:5173")?;
        assert!(is_own_page(&Url::parse("http://localhost:5173/index.html")?, Some(&server)));
        Ok(())
    }
}
