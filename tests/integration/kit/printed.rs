//! What `nginx -t` prints of a configuration.

use crate::kit::harness::{Config, KEY};

pub const LINE: &str =
    "clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://127.0.0.1:1;";
pub const KEYLESS: &str = "clerk_proxy https://app.dev/__clerk upstream=http://127.0.0.1:1;";

/// Checks that the `[emerg]` lines are just this message, citing the configuration's line `line`.
pub fn expect(config: &Config, line: usize, message: &str) {
    let (ok, printed) = config.check();
    let file = config.folder.path().join("nginx.conf");
    let expected = format!("{message} in {}:{line}", file.display());
    let errors: Vec<&str> =
        printed.lines().filter_map(|line| line.strip_prefix("nginx: [emerg] ")).collect();
    assert_eq!(errors, [expected]);
    assert!(!ok && !printed.contains(KEY));
}

pub fn good(config: &Config) -> String {
    let (ok, printed) = config.check();
    assert!(ok);
    printed
}

/// `location /__clerk/ { LINES }`, whose first line is line 5 of the file.
pub fn location(lines: &str) -> Config {
    Config::server(&format!("location /__clerk/ {{\n{lines}\n}}"))
}

/// Checks that `nginx -t` says just this at this level, each text with the file and this line of it.
pub fn says(config: &Config, level: &str, messages: &[(usize, &str)]) {
    let (ok, printed) = config.check();
    let file = config.folder.path().join("nginx.conf");
    let cited = |&(line, text): &(usize, &str)| {
        let place =
            if line == 0 { String::new() } else { format!(" in {}:{line}", file.display()) };
        format!("nginx: [{level}] {text}{place}")
    };
    let expected: Vec<String> = messages.iter().map(cited).collect();
    let got: Vec<&str> = printed.lines().filter(|line| line.starts_with("nginx: [")).collect();
    assert_eq!(got, expected);
    assert_eq!(ok, level == "warn", "{printed}");
    assert!(!printed.contains(KEY) && !config.folder.read("logs/error.log").contains(KEY));
}

pub fn warn(config: &Config, messages: &[(usize, &str)]) {
    says(config, "warn", messages);
}
