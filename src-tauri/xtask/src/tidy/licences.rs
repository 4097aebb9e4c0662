//! Every crate of the lock file has a licence that allows shipping under Apache-2.0.
use serde_json::Value;

/// Licences we accept; an expression passes when some choice of its OR branches is in here.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "OFL-1.1",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

pub fn findings(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    packages.iter().filter_map(objection).collect()
}

fn objection(package: &Value) -> Option<String> {
    let name = format!("{} {}", package["name"].as_str()?, package["version"].as_str()?);
    match package["license"].as_str() {
        Some(expression) if is_allowed(expression) => None,
        Some(expression) => Some(format!("{name}: the licence {expression} is not on the list")),
        None => Some(format!("{name}: names no licence")),
    }
}

/// Evaluates an SPDX expression; the old `MIT/Apache-2.0` spelling counts as OR.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (passed, rest) = any(&words);
    passed && rest.is_empty()
}

fn any<'a, 'b>(words: &'a [&'b str]) -> (bool, &'a [&'b str]) {
    let (mut passed, mut rest) = all(words);
    while let ["OR", tail @ ..] = rest {
        let (next, after) = all(tail);
        (passed, rest) = (passed | next, after);
    }
    (passed, rest)
}

fn all<'a, 'b>(words: &'a [&'b str]) -> (bool, &'a [&'b str]) {
    let (mut passed, mut rest) = one(words);
    while let ["AND", tail @ ..] = rest {
        let (next, after) = one(tail);
        (passed, rest) = (passed & next, after);
    }
    (passed, rest)
}

fn one<'a, 'b>(words: &'a [&'b str]) -> (bool, &'a [&'b str]) {
    match words {
        ["(", tail @ ..] => match any(tail) {
            (passed, [")", rest @ ..]) => (passed, rest),
            (_, rest) => (false, rest),
        },
        [name, "WITH", exception, rest @ ..] => (has(&format!("{name} WITH {exception}")), rest),
        [name, rest @ ..] => (has(name), rest),
        [] => (false, words),
    }
}

fn has(licence: &str) -> bool {
    ALLOWED.contains(&licence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_better_branch_of_or_and_every_branch_of_and() {
        for good in [
            "MIT",
            "GPL-3.0 OR MIT",
            "MIT/Apache-2.0",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(is_allowed(good), "{good}");
        }
        for bad in
            ["GPL-3.0", "MIT AND GPL-3.0", "GPL-2.0 WITH Classpath-exception-2.0", "(MIT", "", "MIT MIT"]
        {
            assert!(!is_allowed(bad), "{bad}");
        }
    }
}
