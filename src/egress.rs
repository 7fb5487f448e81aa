//! The HTTP proxy of the environment, which other programs connect through and nginx does not.

/// The variable that names a proxy for this host and that nginx ignores.
pub fn ignored_proxy(host: &str, get: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    let find = |names: [&'static str; 2]| {
        let value = |name| Some((name, get(name).filter(|value| !value.is_empty())?));
        names.into_iter().find_map(value)
    };
    let (name, _) = find(["https_proxy", "HTTPS_PROXY"])?;
    let exempt = find(["no_proxy", "NO_PROXY"]).is_some_and(|(_, list)| exempts(&list, host));
    (!exempt).then_some(name)
}

/// Whether a list of names, each for what is below it as well, has the host.
fn exempts(list: &str, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    list.to_ascii_lowercase().split([',', ' ']).any(|name| {
        let name = name.trim_start_matches('.');
        let below = || host.strip_suffix(name).is_some_and(|front| front.ends_with('.'));
        name == "*" || (!name.is_empty() && (host == name || below()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(host: &str, environment: &[(&str, &str)]) -> Option<&'static str> {
        ignored_proxy(host, |name| {
            let found = environment.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_proxy_that_is_set() {
        const HOST: &str = "frontend-api.clerk.dev";
        assert_eq!(ignored(HOST, &[]), None);
        assert_eq!(ignored(HOST, &[("https_proxy", ""), ("http_proxy", "http://p:1")]), None);
        assert_eq!(ignored(HOST, &[("https_proxy", "http://p:1")]), Some("https_proxy"));
        let upper = [("https_proxy", ""), ("HTTPS_PROXY", "http://p:1"), ("no_proxy", "")];
        assert_eq!(ignored(HOST, &upper), Some("HTTPS_PROXY"));
    }

    #[test]
    fn hosts_that_are_exempt() {
        for (list, host, is_exempt) in [
            ("*", "a.dev", true),
            ("localhost, clerk.dev", "frontend-api.clerk.dev", true),
            (".clerk.dev", "frontend-api.CLERK.dev", true),
            ("Clerk.dev", "clerk.dev", true),
            ("lerk.dev", "clerk.dev", false),
            ("frontend-api.clerk.dev.x,", "frontend-api.clerk.dev", false),
            ("192.0.2.1", "192.0.2.1", true),
        ] {
            let environment = [("HTTPS_PROXY", "p"), ("NO_PROXY", list)];
            assert_eq!(ignored(host, &environment).is_none(), is_exempt, "{list}: {host}");
        }
    }
}
