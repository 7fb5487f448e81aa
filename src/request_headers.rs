//! Request headers by their owner: the client, an edge before this nginx, or the site around the location.

/// Headers that an edge sets for its origin alone, about who or where the client is. They are read here and not passed
/// to the next edge: Cloudflare, for example, refuses a request with `CF-Connecting-IP` (error 1000).
pub const EDGE: &[&str] = &[
    // Cloudflare; the third also Akamai.
    "CF-Connecting-IP",
    "CF-Connecting-IPv6",
    "True-Client-IP",
    "CF-Pseudo-IPv4",
    "CF-IPCountry",
    // CloudFront
    "CloudFront-Viewer-Address",
    "CloudFront-Viewer-ASN",
    "CloudFront-Viewer-City",
    "CloudFront-Viewer-Country",
    "CloudFront-Viewer-Country-Name",
    "CloudFront-Viewer-Country-Region",
    "CloudFront-Viewer-Country-Region-Name",
    "CloudFront-Viewer-Header-Count",
    "CloudFront-Viewer-Header-Order",
    "CloudFront-Viewer-Http-Version",
    "CloudFront-Viewer-JA3-Fingerprint",
    "CloudFront-Viewer-JA4-Fingerprint",
    "CloudFront-Viewer-Latitude",
    "CloudFront-Viewer-Longitude",
    "CloudFront-Viewer-Metro-Code",
    "CloudFront-Viewer-Postal-Code",
    "CloudFront-Viewer-Time-Zone",
    "CloudFront-Viewer-TLS",
    // Fastly, Fly.io, Imperva, Sucuri, Alibaba Cloud, DigitalOcean, Netlify, Vercel
    "Fastly-Client-IP",
    "Fly-Client-IP",
    "Incap-Client-IP",
    "X-Sucuri-ClientIP",
    "Ali-CDN-Real-IP",
    "DO-Connecting-IP",
    "X-Nf-Client-Connection-IP",
    "X-Vercel-Forwarded-For",
    // Azure Front Door and App Service, App Engine
    "X-Azure-ClientIP",
    "X-Azure-SocketIP",
    "X-Client-IP",
    "X-Appengine-User-IP",
    // Ingress controllers, Envoy, other load balancers
    "X-Real-IP",
    "X-Original-Forwarded-For",
    "X-Envoy-External-Address",
    "X-Cluster-Client-IP",
];

/// Names of headers, or their beginnings, that are messages of a client to the server.
const CLIENTS_FAMILIES: &[&str] = &["Accept-", "Access-Control-", "Content-", "If-", "Sec-"];
const CLIENTS: &[&str] = &[
    "Accept",
    "Authorization",
    "Cache-Control",
    "Cookie",
    "DNT",
    "Early-Data",
    "Origin",
    "Pragma",
    "Priority",
    "Range",
    "Referer",
    "Upgrade-Insecure-Requests",
    "User-Agent",
    "X-HTTP-Method",
    "X-HTTP-Method-Override",
    "X-Method-Override",
    "X-Requested-With",
];

/// Whether the header says what a client wants, who it is, or where it comes from. Other headers mark or trace a
/// request.
pub fn is_clients(name: &str) -> bool {
    let family = |family: &&str| {
        name.get(..family.len()).is_some_and(|front| front.eq_ignore_ascii_case(family))
    };
    CLIENTS_FAMILIES.iter().any(family)
        || CLIENTS.iter().any(|other| other.eq_ignore_ascii_case(name))
}

/// Whether browsers add such an `Authorization` to all requests for a site that asked for a password.
pub fn is_of_site(authorization: &[u8]) -> bool {
    let scheme = authorization.split(|&b| b == b' ').next().unwrap_or_default();
    ["Basic", "Digest", "Negotiate", "NTLM"]
        .iter()
        .any(|site| scheme.eq_ignore_ascii_case(site.as_bytes()))
}

/// Whether the Frontend API accepts an application's credentials at this URI. A server sends them by `POST` and without
/// `Origin`.
pub fn is_for_applications(uri: &[u8]) -> bool {
    uri.starts_with(b"/oauth/")
}

/// What is wrong with a `proxy_set_header` beside `clerk_proxy`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Misfit {
    /// A `Host` that the Frontend API does not know.
    Host,
    /// A `Connection` that ends or switches connections.
    Connection,
    /// A header that is the client's.
    Clients,
}

impl Misfit {
    /// Its effect, as a part of a sentence.
    pub fn effect(self) -> &'static str {
        match self {
            Self::Host => "does not name the Frontend API",
            Self::Connection => "ends or switches connections that should be kept",
            Self::Clients => "replaces what clients say to the Frontend API",
        }
    }

    /// The line as it may be printed: the value of a client's header may be a password.
    pub fn line(self, name: &str, value: &str) -> String {
        match self {
            Self::Host | Self::Connection => format!("proxy_set_header {name} {value}"),
            Self::Clients => format!("proxy_set_header {name}"),
        }
    }
}

/// What is wrong with the header, if anything. `site` is the host of the proxy URL.
pub fn misfit(name: &str, value: &str, site: &str) -> Option<Misfit> {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    let value = value.to_ascii_lowercase();
    if is("Host") {
        let of_site = ["$host", "${host}", "$http_host", "$server_name", "$proxy_host"]
            .iter()
            .any(|variable| value.contains(variable));
        return (of_site || value == site.to_ascii_lowercase()).then_some(Misfit::Host);
    }
    if is("Connection") {
        return (!matches!(&*value, "" | "keep-alive")).then_some(Misfit::Connection);
    }
    let own = format!("$http_{}", name.to_ascii_lowercase().replace('-', "_"));
    let vital = ["Authorization", "Cookie", "Origin"].into_iter().any(is);
    (vital && value != own).then_some(Misfit::Clients)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_clients() {
        for name in [
            "authorization",
            "COOKIE",
            "Origin",
            "Accept",
            "accept-encoding",
            "User-Agent",
            "If-None-Match",
            "Content-Type",
            "Sec-Fetch-Mode",
            "Access-Control-Request-Method",
        ] {
            assert!(is_clients(name), "{name}");
        }
        for name in
            ["X-Request-Id", "traceparent", "Via", "Forwarded", "X-Own", "Content", "Secret", ""]
        {
            assert!(!is_clients(name), "{name}");
        }
    }

    #[test]
    fn credentials_of_a_site() {
        for value in ["Basic dTpw", "basic", "DIGEST username=\"u\"", "Negotiate x", "NTLM x"] {
            assert!(is_of_site(value.as_bytes()), "{value}");
        }
        for value in ["", "Bearer Basic", "Bearer eyJ", "Basics x", "eyJ.x.y"] {
            assert!(!is_of_site(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn misfits() {
        for (name, value, expected) in [
            ("Host", "$host", Some(Misfit::Host)),
            ("host", "$http_host", Some(Misfit::Host)),
            ("Host", "App.dev", Some(Misfit::Host)),
            ("Host", "frontend-api.clerk.dev", None),
            ("Connection", "upgrade", Some(Misfit::Connection)),
            ("Connection", "$connection_upgrade", Some(Misfit::Connection)),
            ("Connection", "", None),
            ("Cookie", "", Some(Misfit::Clients)),
            ("authorization", "Basic x", Some(Misfit::Clients)),
            ("Authorization", "$http_authorization", None),
            ("Accept-Encoding", "", None),
            ("X-Own", "$host", None),
        ] {
            assert_eq!(misfit(name, value, "app.dev"), expected, "{name}: {value}");
        }
    }
}
