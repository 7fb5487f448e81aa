//! The recipe filled in for one location: its `{names}` and their values.

use std::borrow::Cow;

use crate::buffer_sizes::Sizes;
use crate::directive::Effective;

/// The values of the `{names}` for one location.
#[derive(Debug)]
pub struct Values<'a> {
    /// The effective line.
    pub line: &'a Effective,
    /// Whether ORIGIN names an `upstream {}` block of the user.
    pub in_block: bool,
    /// Whether the certificate of the Frontend API is verified, where TLS is spoken.
    pub verified: bool,
    /// The file of trusted certificates.
    pub ca_bundle: &'a str,
    /// Sizes that nginx accepts together with the user's.
    pub buffers: Sizes,
}

impl Values<'_> {
    /// Fills in one argument of a line. The key, which is an argument of its own, is not copied.
    pub fn fill<'a>(&'a self, argument: &'a str) -> Cow<'a, str> {
        let name = argument.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        if let Some(name) = name.filter(|name| !name.contains('{')) {
            return self.value(name);
        }
        let Some((text, rest)) = argument.split_once('{') else { return argument.into() };
        let (name, rest) = rest.split_once('}').unwrap_or((rest, ""));
        format!("{text}{}{}", self.value(name), self.fill(rest)).into()
    }

    fn value(&self, name: &str) -> Cow<'_, str> {
        let origin = &self.line.origin;
        match name {
            "host" => origin.host_header(self.in_block).into(),
            "tls_name" => origin.tls_name(self.in_block).into(),
            // Replies of an unverified server are not used once the server is verified.
            "origin" if self.verified => origin.text().into(),
            "origin" => format!("unverified {}", origin.text()).into(),
            "proxy_url" => self.line.url.as_str().into(),
            "proxy_url_host" => self.line.url.authority().into(),
            "proxy_url_scheme" => self.line.url.scheme().into(),
            "secret_key" => self.line.key.expose().into(),
            "ca_bundle" => self.ca_bundle.into(),
            "buffer_size" => size(self.buffers.buffer_size).into(),
            "buffers" => self.buffers.buffers.0.to_string().into(),
            "buffers_size" => size(self.buffers.buffers.1).into(),
            "busy_buffers_size" => size(self.buffers.busy_buffers_size).into(),
            other => unreachable!("no value for {{{other}}}"),
        }
    }
}

/// A number of bytes as nginx writes it.
fn size(bytes: usize) -> String {
    if bytes % 1024 == 0 {
        format!("{}k", bytes / 1024)
    } else {
        bytes.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer_sizes::UserSizes;
    use crate::frontend_api::Origin;
    use crate::key_source::Key;
    use crate::proxy_url::ProxyUrl;
    use crate::recipe::{self, Class, CA_BUNDLES, KEEPALIVE, RECIPE, SERVERS};
    use crate::request_headers::EDGE;
    use crate::secret_key::SecretKey;

    /// The upstream, the location and what a cache adds as a user would write them.
    fn printed() -> [String; 3] {
        let line = Effective {
            warm: 1,
            url: ProxyUrl::parse("https://app.example/__clerk").unwrap(),
            key: Key::Known(SecretKey::parse(b"sk_live_KEY").unwrap()),
            origin: Origin::default(),
            keepalive: None,
            client_ip: None,
        };
        let values = Values {
            line: &line,
            in_block: false,
            verified: true,
            ca_bundle: CA_BUNDLES[0],
            buffers: Sizes::beside(UserSizes::default()),
        };
        let quoted = |word: &str| {
            let word = values.fill(word).into_owned();
            let plain = !word.is_empty() && !word.contains(['{', '}', ';', ' ', '"', '\'']);
            if plain {
                word
            } else {
                format!("\"{word}\"")
            }
        };
        let line = |words: &[String]| format!("    {};\n", words.join(" "));
        let lines = |class: Class| {
            let mut printed = String::new();
            let mut edge = EDGE.iter().map(|&edge| ["proxy_set_header", edge, ""]);
            for entry in RECIPE.iter().filter(|entry| entry.class == class) {
                if entry.directive == "proxy_pass_request_headers" {
                    printed.extend(edge.by_ref().map(|words| line(&words.map(quoted))));
                }
                let mut words = vec![entry.directive.to_owned()];
                words.extend(entry.arguments.iter().map(|word| quoted(word)));
                printed += &line(&words);
            }
            printed
        };
        let mut upstream = "upstream PRIVATE_NAME {\n".to_owned();
        for parameters in SERVERS {
            let server = format!("{} {parameters}", values.line.origin.server());
            upstream += &line(&["server".to_owned(), server]);
        }
        for (directive, argument) in recipe::upstream(&KEEPALIVE.to_string()) {
            upstream += &line(&[directive.to_owned(), argument.to_owned()]);
        }
        let mut location =
            "location ^~ /__clerk/ {\n    proxy_pass https://PRIVATE_NAME;    # with $clerk_proxy_uri, see below\n"
                .to_owned();
        for class in [Class::Contract, Class::Tuning] {
            location.extend(["\n    # ", &format!("{class:?}").to_lowercase(), "\n"]);
            location += &lines(class);
        }
        let cache = format!("    # in place of \"proxy_cache ZONE\"\n{}", lines(Class::Cache));
        [upstream + "}\n", location + "}\n", cache]
    }

    #[test]
    fn the_page_of_the_recipe() {
        let page = include_str!("../docs/recipe.md");
        let mut blocks =
            page.split("```nginx\n").skip(1).filter_map(|rest| rest.split("```").next());
        for printed in printed() {
            assert_eq!(
                blocks.next(),
                Some(printed.as_str()),
                "docs/recipe.md lacks this:\n\n{printed}"
            );
        }
        assert_eq!(blocks.next(), None, "docs/recipe.md has more than the recipe");
    }
}
