//! Whether a `clerk_proxy` line stands in the location of its proxy URL.

use crate::proxy_url::ProxyUrl;

/// Why a location is not that of a proxy URL.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mismatch {
    /// No request below the URL's path reaches the location.
    Beside,
    /// Requests outside the URL's path reach it, too.
    Wider,
}

/// The first segments of the Frontend API's paths except versions such as `v1`. They hardly change.
const SEGMENTS: [&str; 4] = ["npm", ".well-known", "oauth", "api_keys"];

/// Checks the location `name`. Its requests begin with the name, or equal it if the location is `exact`.
///
/// # Errors
///
/// Why the location is not that of the URL.
pub fn check(url: &ProxyUrl, name: &str, exact: bool) -> Result<(), Mismatch> {
    let prefix = url.prefix();
    match name.strip_prefix(prefix) {
        // `/__clerk` also takes `/__clerkfoo`, which our handler answers.
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Ok(()),
        None if !exact && prefix.starts_with(name) => Err(Mismatch::Wider),
        _ => Err(Mismatch::Beside),
    }
}

/// The URL to write instead if the Frontend API has no path that begins with the rest of the location's `name` behind
/// the path of the URL: `https://app.dev/__clerk` for `https://app.dev` in `location /__clerk/`.
pub fn better_url(url: &ProxyUrl, name: &str) -> Option<String> {
    let rest = name.strip_prefix(url.prefix())?;
    let is_served = |path: &str| match path.split_once('/') {
        Some((segment, _)) => is_version(segment) || SEGMENTS.contains(&segment),
        // The location may end within a segment.
        None => path == "v" || is_version(path) || SEGMENTS.iter().any(|one| one.starts_with(path)),
    };
    let is_nowhere = rest.strip_prefix('/').is_some_and(|path| !is_served(path));
    is_nowhere.then(|| format!("{}{}", url.as_str(), rest.trim_end_matches('/')))
}

fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|number| number.parse::<u8>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(typed: &str) -> ProxyUrl {
        ProxyUrl::parse(typed).expect(typed)
    }

    #[test]
    fn locations() {
        let typed = url("https://app.dev/__clerk");
        for name in ["/__clerk", "/__clerk/", "/__clerk/v1", "/__clerk/npm/"] {
            assert_eq!(check(&typed, name, false), Ok(()), "{name}");
            assert_eq!(check(&typed, name, true), Ok(()), "{name}");
        }
        for name in ["/", "/__cler", ""] {
            assert_eq!(check(&typed, name, false), Err(Mismatch::Wider), "{name}");
            assert_eq!(check(&typed, name, true), Err(Mismatch::Beside), "{name}");
        }
        for name in ["/__clerkfoo", "/api/", "/__Clerk/"] {
            assert_eq!(check(&typed, name, false), Err(Mismatch::Beside), "{name}");
        }
        let root = url("https://clerk.app.dev/");
        assert_eq!((check(&root, "/", false), check(&root, "/v1/", false)), (Ok(()), Ok(())));
    }

    #[test]
    fn paths_that_are_not_cut_off() {
        for (typed, name, better) in [
            ("https://app.dev", "/__clerk/", "https://app.dev/__clerk"),
            ("https://app.dev/", "/__clerk", "https://app.dev/__clerk"),
            ("https://app.dev/api", "/api/__clerk/", "https://app.dev/api/__clerk"),
            ("https://$host", "/a/b/", "https://$host/a/b"),
            ("https://app.dev/a", "/a/npmx/", "https://app.dev/a/npmx"),
            ("https://app.dev", "/vx/", "https://app.dev/vx"),
        ] {
            assert_eq!(better_url(&url(typed), name).as_deref(), Some(better), "{typed} {name}");
        }
        for name in
            ["/", "/v", "/v2", "/v1/", "/v1/client", "/np", "/npm/@clerk/", "/.well-known/x", ""]
        {
            assert_eq!(better_url(&url("https://app.dev"), name), None, "{name}");
            let name = format!("/__clerk{name}");
            assert_eq!(better_url(&url("https://app.dev/__clerk"), &name), None, "{name}");
        }
    }
}
