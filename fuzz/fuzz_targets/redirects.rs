//! Redirects: whatever the Frontend API sends, a browser comes to the proxy or to what was sent.

#![no_main]

use clerk_nginx_fuzz::frontend_api::Origin;
use clerk_nginx_fuzz::redirects::Redirects;
use libfuzzer_sys::fuzz_target;

const PROXY: &str = "https://app.dev/__clerk";

fuzz_target!(|bytes: &[u8]| {
    let origin = Origin::parse("https://fapi.test/base").unwrap();
    let redirects = Redirects::new(&origin, false, PROXY).unwrap();
    let mut parts = bytes.splitn(2, |&byte| byte == 0);
    let (asked, value) = (parts.next().unwrap(), parts.next().unwrap_or_default());
    for name in [&b"Location"[..], b"Refresh", b"Link"] {
        if let Some(sent) = redirects.header(name, value, asked, PROXY) {
            let text = String::from_utf8_lossy(&sent);
            assert!(text.contains(PROXY), "{text}");
            assert!(name != b"Location" || text.starts_with(PROXY) && sent.is_ascii());
            assert!(
                !sent.iter().any(|&byte| matches!(byte, b'\r' | b'\n' | 0)) || name != b"Location"
            );
        }
    }
});
