//! The language of messages, from the environment as every Unix program reads it.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lang {
    En,
    Hi,
}

impl Lang {
    pub fn from_env() -> Self {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// The first of `LC_ALL`, `LC_MESSAGES`, `LANG` that is not empty decides.
    fn from_vars(var: impl Fn(&str) -> Option<String>) -> Self {
        let locale = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(var).find(|v| !v.is_empty());
        match locale {
            Some(locale) if locale == "hi" || locale.starts_with("hi_") || locale.starts_with("hi.") => {
                Self::Hi
            }
            _ => Self::En,
        }
    }

    pub const fn pick<'a>(self, en: &'a str, hi: &'a str) -> &'a str {
        match self {
            Self::En => en,
            Self::Hi => hi,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lang(vars: &[(&str, &str)]) -> Lang {
        Lang::from_vars(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn hindi_by_any_of_the_variables() {
        assert_eq!(lang(&[("LANG", "hi_IN.UTF-8")]), Lang::Hi);
        assert_eq!(lang(&[("LANG", "en_IN"), ("LC_MESSAGES", "hi")]), Lang::Hi);
        assert_eq!(lang(&[("LANG", "hi_IN"), ("LC_ALL", "C")]), Lang::En);
        assert_eq!(lang(&[("LANG", "hi_IN"), ("LC_ALL", "")]), Lang::Hi);
        assert_eq!(lang(&[("LANG", "hil_PH")]), Lang::En);
        assert_eq!(lang(&[]), Lang::En);
    }
}
