//! Reply headers of the site around the location, and which of them may be added to those of the Frontend API.

/// Headers that describe a reply. A second one, meant for pages and assets of the application, would contradict the
/// Frontend API.
const OF_REPLIES: &[&str] = &[
    "Age",
    "Clear-Site-Data",
    "ETag",
    "Expires",
    "Last-Modified",
    "Location",
    "Pragma",
    "Refresh",
    "Set-Cookie",
    "Surrogate-Control",
    "Vary",
    // clerk-js reads these.
    "Retry-After",
    "X-Country",
];
const FAMILIES: &[&str] = &["Access-Control-", "Content-"];

/// Whether the header describes a reply, which only the Frontend API may do. Others, such as security headers, are the
/// site's.
pub fn is_of_reply(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is = |other: &&str| other.eq_ignore_ascii_case(&name);
    let family = |family: &&str| name.starts_with(&family.to_ascii_lowercase());
    let is_policy = name.starts_with("content-security-policy");
    // Also those of CDNs, such as CDN-Cache-Control.
    name.ends_with("cache-control")
        || OF_REPLIES.iter().any(is)
        || FAMILIES.iter().any(family) && !is_policy
}

/// Whether the header, with this value, only forbids something.
pub fn is_harmless(name: &str, value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    name.eq_ignore_ascii_case("Cache-Control")
        && ["no-store", "no-cache", "private"].iter().any(|word| value.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_replies_and_of_the_site() {
        for name in [
            "Cache-Control",
            "CDN-Cache-Control",
            "cloudflare-cdn-cache-control",
            "expires",
            "ETag",
            "Access-Control-Allow-Origin",
            "Set-Cookie",
            "Vary",
            "Content-Type",
            "Content-Disposition",
        ] {
            assert!(is_of_reply(name), "{name}");
        }
        for name in [
            "Strict-Transport-Security",
            "Content-Security-Policy",
            "Content-Security-Policy-Report-Only",
            "X-Frame-Options",
            "X-Content-Type-Options",
            "Referrer-Policy",
            "Permissions-Policy",
            "Alt-Svc",
            "X-Request-Id",
            "Server-Timing",
        ] {
            assert!(!is_of_reply(name), "{name}");
        }
    }

    #[test]
    fn what_forbids() {
        assert!(
            is_harmless("cache-control", "no-store") && is_harmless("Cache-Control", "Private, x")
        );
        assert!(
            !is_harmless("Cache-Control", "public, max-age=1") && !is_harmless("Vary", "private")
        );
    }
}
