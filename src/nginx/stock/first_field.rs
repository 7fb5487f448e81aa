//! The first field of other modules' merged settings.

use std::ffi::CStr;

use crate::nginx::base::ffi::{ngx_array_t, ngx_conf_t, ngx_http_complex_value_t, ngx_str_t};
use crate::nginx::stock::directives::field;
use crate::nginx::stock::field::Field;
use crate::nginx::stock::level::Level;

/// The first field of a module's settings.
///
/// # Safety
///
/// The settings begin with a value of this type in each nginx that has the directive's field at their front.
pub unsafe trait FirstField: Copy {
    /// The module.
    const MODULE: &'static CStr;
    /// The directive.
    const DIRECTIVE: &'static str;

    /// The field of a block, if nginx has the directive and its field comes first.
    fn of(cf: &ngx_conf_t, level: Level) -> Option<Self> {
        let Field { ctx_index, offset } = field(cf, Self::MODULE, Self::DIRECTIVE)?;
        let settings = level.conf(ctx_index);
        // SAFETY: promised by the trait; a block has settings of each module that creates some.
        (offset == 0 && !settings.is_null()).then(|| unsafe { settings.cast::<Self>().read() })
    }
}

macro_rules! first_fields {
    ($($doc:literal $name:ident($type:ty): $module:literal $directive:literal;)*) => {
        $(
            #[doc = $doc]
            #[derive(Clone, Copy)]
            #[repr(transparent)]
            pub struct $name(pub $type);

            // SAFETY: see the module's source. What a reference leads to lives as long as the configuration.
            unsafe impl FirstField for $name {
                const MODULE: &'static CStr = $module;
                const DIRECTIVE: &'static str = $directive;
            }
        )*
    };
}

first_fields! {
    "The realm of a password." Realm(Option<&'static ngx_http_complex_value_t>):
        c"ngx_http_auth_basic_module" "auth_basic";
    "The URI of `auth_request`." AuthRequest(ngx_str_t): c"ngx_http_auth_request_module" "auth_request";
    "The code that lines of the rewrite module became." Codes(Option<&'static ngx_array_t>):
        c"ngx_http_rewrite_module" "rewrite";
    "The files of `try_files`." TryFiles(Option<&'static u8>): c"ngx_http_try_files_module" "try_files";
    "What `expires` says, an `enum`." Expires(u32): c"ngx_http_headers_filter_module" "expires";
}
