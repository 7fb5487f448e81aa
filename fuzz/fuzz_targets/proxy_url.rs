//! Proxy URLs: what is accepted reads the same to others, keeps its text, and is accepted again.

#![no_main]

use clerk_nginx_fuzz::assert_read_alike;
use clerk_nginx_fuzz::location::{self, Mismatch};
use clerk_nginx_fuzz::proxy_url::ProxyUrl;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|typed: &str| {
    let Ok(url) = ProxyUrl::parse(typed) else { return };
    let text = url.as_str();
    assert_eq!(text, typed.trim_end_matches('/'));
    assert_eq!(text, format!("{}://{}{}", url.scheme(), url.authority(), url.prefix()));
    assert_eq!(ProxyUrl::parse(text).as_ref(), Ok(&url));
    // A header's value and a prefix that requests can have.
    assert!(text.bytes().all(|b| b.is_ascii_graphic()));
    let prefix = url.prefix();
    assert!(prefix.is_empty() || prefix.starts_with('/') && !prefix.ends_with('/'));
    assert!(!prefix.split('/').any(|segment| segment == "." || segment == ".."));
    for (end, fits) in [("", Ok(())), ("/", Ok(())), ("/v1/", Ok(())), ("-", Err(Mismatch::Beside))]
    {
        let name = format!("{prefix}{end}");
        assert_eq!(location::check(&url, &name, false), fits, "{name}");
        assert_eq!(location::better_url(&url, &name), None, "{name}");
    }
    if url.has_variables() {
        assert!(!url.is_met_by(text));
        return;
    }
    assert!(url.is_met_by(text));
    let (host, port) = match url.authority().rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().expect(port))),
        _ => (url.authority(), None),
    };
    assert_read_alike(text, url.scheme(), host, port, prefix);
});
