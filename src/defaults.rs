//! The values of the directives beside `clerk_proxy`, which lines without parameters of their own take.

use std::rc::Rc;

use crate::directive::{ClerkProxy, Effective};
use crate::frontend_api::Origin;
use crate::key_source::Key;
use crate::recipe::WARM;

/// The directive that sets the key of a block's lines.
pub const SECRET_KEY: &str = "clerk_proxy_secret_key";
/// The directive that sets where the Frontend API is.
pub const UPSTREAM: &str = "clerk_proxy_upstream";

/// The values of one block and, once merged, of outer blocks.
#[derive(Clone, Default)]
pub struct Defaults {
    /// `clerk_proxy_secret_key`.
    pub key: Option<Rc<Key>>,
    /// `clerk_proxy_upstream`.
    pub origin: Option<Rc<Origin>>,
    /// `clerk_proxy_client_ip`.
    pub client_ip: Option<Rc<str>>,
    /// `clerk_proxy_warm`.
    pub warm: Option<u16>,
}

impl Defaults {
    /// Fills in the values of the outer block.
    pub fn fill_from(&mut self, outer: &Self) {
        self.key = self.key.take().or_else(|| outer.key.clone());
        self.origin = self.origin.take().or_else(|| outer.origin.clone());
        self.client_ip = self.client_ip.take().or_else(|| outer.client_ip.clone());
        self.warm = self.warm.or(outer.warm);
    }

    /// The directive of a block inside a line's location that the line's own parameter leaves without effect, and that
    /// parameter; `outer` has the values of the location.
    pub fn idle_inside(
        &self,
        line: &ClerkProxy,
        outer: &Self,
    ) -> Option<(&'static str, &'static str)> {
        let is_new = !is_inherited(self.key.as_ref(), outer.key.as_ref());
        if line.key.is_some() && is_new {
            return Some((SECRET_KEY, "secret_key"));
        }
        let is_new = !is_inherited(self.origin.as_ref(), outer.origin.as_ref());
        (line.origin.is_some() && is_new).then_some((UPSTREAM, "upstream"))
    }

    /// A line with these values for what it does not say.
    pub fn complete(&self, line: &ClerkProxy, key: Key) -> Effective {
        let origin = line.origin.as_ref().or(self.origin.as_deref()).cloned().unwrap_or_default();
        let client_ip = self.client_ip.as_deref().map(str::to_owned);
        let (keepalive, warm) = (line.keepalive, self.warm.unwrap_or(WARM));
        Effective { url: line.url.clone(), key, origin, keepalive, client_ip, warm }
    }
}

/// Whether a block took a value from the one around it.
fn is_inherited<T>(own: Option<&Rc<T>>, outer: Option<&Rc<T>>) -> bool {
    own.map(Rc::as_ptr) == outer.map(Rc::as_ptr)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directive::parse_origin;
    use crate::secret_key::SecretKey;

    fn line(parameter: &str) -> ClerkProxy {
        let words = ["https://app.example/__clerk", parameter];
        let words = words.iter().filter(|word| !word.is_empty()).map(|word| (*word).to_owned());
        ClerkProxy::parse(&words.collect::<Vec<_>>()).expect("a line")
    }

    fn origin(text: &str) -> Origin {
        parse_origin(text, None).expect("an origin")
    }

    #[test]
    fn the_nearest_value_counts() {
        let key = || Key::Known(SecretKey::placeholder());
        let mut own = Defaults { warm: Some(0), ..Defaults::default() };
        let outer = Defaults {
            origin: Some(origin("https://outer.example").into()),
            client_ip: Some("$http_x".into()),
            warm: Some(3),
            key: None,
        };
        own.fill_from(&outer);
        let effective = own.complete(&line(""), key());
        assert_eq!(effective.origin, origin("https://outer.example"));
        assert_eq!((effective.client_ip.as_deref(), effective.warm), (Some("$http_x"), 0));
        let effective = own.complete(&line("upstream=https://line.example"), key());
        assert_eq!(effective.origin, origin("https://line.example"));
        let effective = Defaults::default().complete(&line(""), key());
        assert_eq!((effective.origin, effective.warm), (Origin::default(), WARM));
        assert_eq!(effective.client_ip, None);
    }
}
