//! Regular expressions of the configuration, tried when it is read. An nginx without PCRE has none.

#[cfg(nginx_pcre)]
pub use with_pcre::*;
#[cfg(not(nginx_pcre))]
pub use without_pcre::*;

#[cfg(nginx_pcre)]
mod with_pcre {
    use crate::nginx::base::ffi::{
        ngx_array_t, ngx_conf_t, ngx_http_core_loc_conf_t, ngx_http_regex_t,
        ngx_http_script_regex_code_t, ngx_http_script_regex_start_code, ngx_regex_elt_t,
        ngx_regex_exec_array, ngx_str_t,
    };
    use crate::nginx::base::links::configuration::{regex, regex_locations, regex_of};
    use crate::nginx::base::plain::Plain;
    use crate::nginx::base::status::OK;
    use crate::nginx::stock::level::Level;

    /// A compiled expression.
    #[derive(Clone, Copy)]
    pub struct Regex(Option<&'static ngx_http_regex_t>);

    impl Regex {
        /// The expression of a location.
        pub fn of(core: &ngx_http_core_loc_conf_t) -> Self {
            Self(regex(core))
        }

        /// The expression of a `rewrite`, if this is its code; an `if` can have an expression as well.
        pub fn of_rewrite(function: usize, code: &[u8]) -> Option<Self> {
            let is_one = function == ngx_http_script_regex_start_code as *const () as usize;
            let code = ngx_http_script_regex_code_t::read(code).filter(|_| is_one);
            code.filter(|code| code.test() == 0).map(|code| Self(regex_of(&code)))
        }

        /// The expression as written.
        pub fn pattern(self) -> String {
            let name = self.0.map(|regex| regex.name);
            String::from_utf8_lossy(name.as_ref().map_or(&[], ngx_str_t::as_bytes)).into_owned()
        }

        /// Whether it matches the text.
        pub fn matches(self, cf: &ngx_conf_t, text: &str) -> bool {
            let Some(regex) = self.0 else { return false };
            let mut element = ngx_regex_elt_t { regex: regex.regex, name: regex.name.data };
            let mut list = ngx_array_t {
                elts: (&raw mut element).cast(),
                nelts: 1,
                size: size_of::<ngx_regex_elt_t>(),
                nalloc: 1,
                pool: cf.pool,
            };
            let mut text = ngx_str_t { len: text.len(), data: text.as_ptr().cast_mut() };
            // SAFETY: nginx reads a list of one expression and a text, and writes to a log if something is wrong with
            // either.
            unsafe { ngx_regex_exec_array(&raw mut list, &raw mut text, cf.log) == OK }
        }
    }

    /// The locations with expressions in a block, in order, once nginx has sorted them.
    pub fn locations(level: Level) -> impl Iterator<Item = &'static ngx_http_core_loc_conf_t> {
        regex_locations(level.core())
    }

    /// Whether nginx tries no expression once a request has this location.
    pub fn is_final(core: &ngx_http_core_loc_conf_t) -> bool {
        core.exact_match() == 1 || core.noregex() == 1
    }
}

#[cfg(not(nginx_pcre))]
mod without_pcre {
    use crate::nginx::base::ffi::{ngx_conf_t, ngx_http_core_loc_conf_t};
    use crate::nginx::stock::level::Level;

    #[derive(Clone, Copy)]
    pub struct Regex;

    impl Regex {
        pub fn of(_core: &ngx_http_core_loc_conf_t) -> Self {
            Self
        }

        pub fn of_rewrite(_function: usize, _code: &[u8]) -> Option<Self> {
            None
        }

        pub fn pattern(self) -> String {
            String::new()
        }

        pub fn matches(self, _cf: &ngx_conf_t, _text: &str) -> bool {
            false
        }
    }

    pub fn locations(_level: Level) -> impl Iterator<Item = &'static ngx_http_core_loc_conf_t> {
        std::iter::empty()
    }

    pub fn is_final(_core: &ngx_http_core_loc_conf_t) -> bool {
        true
    }
}
