//! Tests of nginx's bit fields: C compilers place them, bindgen computes where, and these can differ.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

#[cfg(nginx_angie)]
use nginx_sys::ngx_shm_zone_t;
use nginx_sys::{
    ngx_buf_t, ngx_event_t, ngx_http_core_loc_conf_t, ngx_http_headers_in_t, ngx_http_request_t,
    ngx_http_script_regex_code_t, ngx_http_upstream_conf_t, ngx_http_upstream_server_t,
    ngx_http_upstream_t, ngx_http_variable_value_t, ngx_peer_connection_t, ngx_ssl_connection_t,
};

use super::layers::sources;

/// For each of these setters: structure, bit field, and the structure's bytes once the field alone is full.
macro_rules! filled {
    ($($structure:ident: $($setter:ident)*;)*) => {
        vec![$($({
            let mut words = vec![0u64; size_of::<$structure>().div_ceil(8)];
            let value = words.as_mut_ptr().cast::<$structure>();
            // SAFETY: there is room, and zero is a valid value for every field of a plain C struct.
            unsafe { (*value).$setter(!0) };
            let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_ne_bytes).collect();
            let field = stringify!($setter).strip_prefix("set_").expect("a setter");
            (stringify!($structure), field, bytes[..size_of::<$structure>()].to_vec())
        }),*),*]
    };
}

/// All bit fields that the glue reads or writes.
fn in_use() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    #[cfg(not(nginx_angie))]
    let of_forks = vec![];
    #[cfg(nginx_angie)]
    let of_forks = filled! { ngx_shm_zone_t: set_noreuse; };
    let of_all = filled! {
        ngx_buf_t: set_last_buf set_last_in_chain set_temporary;
        ngx_event_t: set_cancelable set_ready set_timedout set_timer_set;
        ngx_http_core_loc_conf_t: set_exact_match set_named set_noname set_noregex;
        ngx_http_headers_in_t: set_chunked;
        ngx_http_request_t: set_http_major set_http_minor set_valid_unparsed_uri;
        ngx_http_script_regex_code_t: set_test;
        ngx_http_upstream_conf_t: set_cache;
        ngx_http_upstream_server_t: set_backup;
        ngx_http_upstream_t: set_buffering set_cache_status set_keepalive set_request_body_sent set_ssl;
        ngx_http_variable_value_t: set_len set_valid set_no_cacheable set_not_found set_escape;
        ngx_peer_connection_t: set_cached set_log_error set_so_keepalive;
        ngx_ssl_connection_t: set_handshaked set_no_send_shutdown set_no_wait_shutdown;
    };
    [of_all, of_forks].concat()
}

/// The folder that a variable of the build names.
fn folder(variable: &str) -> PathBuf {
    env::var(variable).expect("cargo sets it").into()
}

/// What the glue calls as a method, setters without `set_`.
fn called() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, text) in sources("src/nginx") {
        // A connection has fields of these names, too.
        let others = ["u.peer.set_log_error(", "(*event).set_timedout(", "event.timedout("];
        let text = others.into_iter().fold(text, |text, other| text.replace(other, ""));
        for (at, _) in text.match_indices('.') {
            let rest = &text[at + 1..];
            let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
            let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
            let setter = name.strip_prefix("set_").filter(|_| rest.starts_with('('));
            // A getter has no argument.
            names.extend(setter.or(rest.starts_with("()").then_some(name)).map(str::to_owned));
        }
    }
    names
}

/// The bit fields of nginx's headers in this text.
fn declared(header: &str) -> BTreeSet<&str> {
    let lines = header.lines().filter_map(|line| line.trim().strip_prefix("unsigned"));
    lines.filter_map(|line| Some(line.split_once(':')?.0.trim())).collect()
}

/// On nginx 1.31 the bit fields of a request begin inside of a word, and bindgen gets most of them wrong.
#[test]
fn bindgen_finds_bit_fields_where_c_has_them() {
    let mut program = String::from(
        "#include <ngx_config.h>\n#include <ngx_core.h>\n#include <ngx_http.h>\n\
         #define PRINT(structure, field) { \\\n\
             union { structure value; u_char bytes[sizeof(structure)]; } u; \\\n\
             ngx_memzero(&u, sizeof(u)); \\\n\
             u.value.field = ~0u; \\\n\
             printf(\"%s.%s of %zu bytes:\", #structure, #field, sizeof(u)); \\\n\
             for (size_t i = 0; i < sizeof(u); i++) \\\n\
                 if (u.bytes[i]) printf(\" %zu=%u\", i, u.bytes[i]); \\\n\
             puts(\"\"); }\n\
         int main(void) {\n",
    );
    let mut wanted = String::new();
    for (structure, field, bytes) in in_use() {
        writeln!(program, "PRINT({structure}, {field})").expect("memory");
        write!(wanted, "{structure}.{field} of {} bytes:", bytes.len()).expect("memory");
        for (at, byte) in bytes.iter().enumerate().filter(|(_, byte)| **byte != 0) {
            write!(wanted, " {at}={byte}").expect("memory");
        }
        wanted.push('\n');
    }
    program.push_str("return 0; }\n");

    let makefile = folder("NGINX_BUILD_DIR").join("Makefile");
    let makefile = fs::read_to_string(makefile).expect("what `configure` made");
    let includes = makefile.split_once("ALL_INCS = ").expect("folders of headers").1;
    let includes = includes.split("\n\n").next().expect("an end").replace('\\', "");
    // Beside this program itself, in target/.
    let own = env::current_exe().expect("a path").with_extension("bit_fields");
    let source = own.with_extension("bit_fields.c");
    fs::write(&source, program).expect("a file");
    let mut cc = Command::new("cc");
    cc.current_dir(folder("NGINX_SOURCE_DIR")).args(includes.split_whitespace());
    let built = cc.arg("-w").arg("-o").arg(&own).arg(&source).status().expect("a C compiler");
    assert!(built.success(), "{}", source.display());
    let printed = Command::new(&own).output().expect("a program").stdout;
    let printed = String::from_utf8(printed).expect("text");
    for (bindgen, c) in wanted.lines().zip(printed.lines()) {
        assert_eq!(bindgen, c);
    }
    assert_eq!(wanted.lines().count(), printed.lines().count());
}

#[test]
fn bit_fields_in_use_are_tested() {
    let folders =
        ["core", "event", "http"].map(|name| folder("NGINX_SOURCE_DIR").join("src").join(name));
    let mut text = String::new();
    for entry in folders.iter().flat_map(|folder| fs::read_dir(folder).expect("headers")) {
        let path = entry.expect("a file").path();
        if path.extension().is_some_and(|extension| extension == "h") {
            text += &fs::read_to_string(path).expect("a header of nginx");
        }
    }
    let declared = declared(&text);
    let tested: Vec<_> = in_use().into_iter().map(|(_, field, _)| field).collect();
    // Methods of Rust's own and of the glue.
    let others = ["count", "is_file", "len", "listen", "lock", "read", "size", "upgrade"];
    let mut called = called();
    called.retain(|name| declared.contains(&**name) && !others.contains(&&**name));
    assert!(called.contains("valid_unparsed_uri"), "{called:?}");
    called.retain(|name| !tested.contains(&&**name));
    assert!(called.is_empty(), "{called:?}");
}

/// Debian's nginx 1.22.1 has one bit more in a connection than nginx's own, with the same signature: a module
/// built for one and loaded into the other would set a bit that means something else.
#[test]
fn no_bit_field_of_a_connection_is_touched() {
    let path = folder("NGINX_SOURCE_DIR").join("src/core/ngx_connection.h");
    let header = fs::read_to_string(path).expect("a header of nginx");
    let start = header.find("struct ngx_connection_s {").expect("the structure");
    let end = start + header[start..].find("\n};").expect("its end");
    let fields = declared(&header[start..end]);
    assert!(fields.contains("tcp_nodelay"), "{fields:?}");
    let called = called();
    let touched: Vec<_> = fields.iter().filter(|name| called.contains(**name)).collect();
    assert!(touched.is_empty(), "{touched:?}");
}
