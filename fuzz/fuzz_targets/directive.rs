//! The words of a `clerk_proxy` line: what is accepted fills the whole recipe, and no message tells a key that
//! was typed in a wrong place.

#![no_main]

use clerk_nginx_fuzz::buffer_sizes::{Sizes, UserSizes};
use clerk_nginx_fuzz::directive::{parse_origin, parse_warm, ClerkProxy, Effective};
use clerk_nginx_fuzz::key_source::Key;
use clerk_nginx_fuzz::recipe::RECIPE;
use clerk_nginx_fuzz::recipe_values::Values;
use clerk_nginx_fuzz::secret_key::SecretKey;
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "QqZzJjXx0123456789abcdefghijABCDEFGHIJ01";

/// What the line stands for, as nginx gets it.
fn assert_fills(line: ClerkProxy) {
    let key = Key::Known(SecretKey::parse(b"sk_live_x").expect("a key"));
    let origin = line.origin.unwrap_or_default();
    let ClerkProxy { url, keepalive, .. } = line;
    let line = Effective { url, key, origin, keepalive, client_ip: None, warm: 1 };
    let buffers = Sizes::beside(UserSizes::default());
    for (in_block, verified) in [(false, false), (false, true), (true, true)] {
        let values = Values { line: &line, in_block, verified, ca_bundle: "/ca.pem", buffers };
        for argument in RECIPE.iter().flat_map(|entry| entry.arguments) {
            let filled = values.fill(argument);
            let is_key_of_cache = argument.contains(' ');
            let plain = |b: u8| b.is_ascii_graphic() || is_key_of_cache && b == b' ';
            assert!(filled.bytes().all(plain), "{}", *filled);
            assert_eq!(filled.contains("sk_live_x"), argument.contains("{secret_key}"));
        }
    }
}

/// Words are separated by single spaces; `KEY` in the text is a key.
fn words(text: &str) -> Vec<String> {
    text.replace("KEY", &format!("sk_live_{SECRET}")).split(' ').map(str::to_owned).collect()
}

fuzz_target!(|text: &str| {
    let words = words(text);
    let mut told = Vec::new();
    match ClerkProxy::parse(&words) {
        Ok(line) => {
            told.push(line.key.as_ref().map(|key| format!("{key} {key:?}")).unwrap_or_default());
            assert_eq!(line.url.as_str(), words[0].trim_end_matches('/'));
            assert!(words.len() <= 4);
            if !text.contains("KEY") && !text.to_lowercase().contains("sk_live_x") {
                assert_fills(line);
            }
        }
        Err(error) => told.push(error.to_string()),
    }
    told.extend(parse_origin(&words[0], Some("clerk_proxy_upstream")).err().map(|e| e.to_string()));
    told.extend(parse_warm(&words[0]).err().map(|error| error.to_string()));
    for told in told {
        assert!(!told.contains(&SECRET[..8]) || text.contains(&SECRET[..8]), "{told}");
        assert!(!told.contains(|c: char| c.is_control()), "{told:?}");
    }
});
