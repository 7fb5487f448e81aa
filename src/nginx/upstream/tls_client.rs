//! TLS towards a server, by functions of the running nginx that are looked up by name: an nginx without TLS can load
//! this module, too.

use std::ffi::{c_char, c_int, c_long, c_void, CString};
use std::net::IpAddr;
use std::sync::LazyLock;

use crate::http_url::without_port;
use crate::nginx::base::connection::Connection;
use crate::nginx::base::ffi::{
    ngx_connection_t, ngx_http_upstream_conf_t, ngx_int_t, ngx_pool_t, ngx_ssl_connection_t,
    ngx_ssl_t, ngx_str_t, ngx_uint_t, NGX_AGAIN, NGX_SSL_BUFFER, NGX_SSL_CLIENT,
};
use crate::nginx::base::links::configuration::ssl_name;
use crate::nginx::base::links::request::tls;
use crate::nginx::base::status::OK;
use crate::nginx::base::symbols::find;

/// `SSL_CTRL_SET_TLSEXT_HOSTNAME` and `TLSEXT_NAMETYPE_host_name`.
const SET_HOST_NAME: (c_int, c_long) = (55, 0);

const FAILED: &str = "TLS handshake failed";

type Handler = unsafe extern "C" fn(*mut ngx_connection_t);

/// What sets the name of the server: a function of `BoringSSL`'s and AWS-LC's, of which OpenSSL makes a macro.
#[derive(Clone, Copy)]
enum SetName {
    Function(unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int),
    Macro(unsafe extern "C" fn(*mut c_void, c_int, c_long, *mut c_void) -> c_long),
}

/// The functions that a client needs.
#[derive(Clone, Copy)]
pub struct TlsClient {
    create: unsafe extern "C" fn(*mut ngx_ssl_t, *mut ngx_connection_t, ngx_uint_t) -> ngx_int_t,
    handshake: unsafe extern "C" fn(*mut ngx_connection_t) -> ngx_int_t,
    check_host: unsafe extern "C" fn(*mut ngx_connection_t, *mut ngx_str_t) -> ngx_int_t,
    shutdown: unsafe extern "C" fn(*mut ngx_connection_t) -> ngx_int_t,
    resumed:
        unsafe extern "C" fn(*mut ngx_connection_t, *mut ngx_pool_t, *mut ngx_str_t) -> ngx_int_t,
    verify_result: unsafe extern "C" fn(*const c_void) -> c_long,
    set_name: SetName,
}

impl TlsClient {
    /// The functions of this nginx, if it has them all. Looking them up takes longer than a handshake, and is done once.
    pub fn of_nginx() -> Option<Self> {
        static FOUND: LazyLock<Option<TlsClient>> = LazyLock::new(TlsClient::look_up);
        *FOUND
    }

    fn look_up() -> Option<Self> {
        // SAFETY: the types are those of the headers of nginx and of the TLS library that has the function.
        unsafe {
            Some(Self {
                create: find(c"ngx_ssl_create_connection")?,
                handshake: find(c"ngx_ssl_handshake")?,
                check_host: find(c"ngx_ssl_check_host")?,
                shutdown: find(c"ngx_ssl_shutdown")?,
                resumed: find(c"ngx_ssl_get_session_reused")?,
                verify_result: find(c"SSL_get_verify_result")?,
                set_name: match find(c"SSL_set_tlsext_host_name") {
                    Some(function) => SetName::Function(function),
                    None => SetName::Macro(find(c"SSL_ctrl")?),
                },
            })
        }
    }

    /// Begins a handshake with the settings of a location that speaks TLS; returns whether it is complete. If not,
    /// `handler` is called later.
    pub fn begin(
        &self,
        c: Connection,
        conf: &ngx_http_upstream_conf_t,
        handler: Handler,
    ) -> Result<bool, String> {
        let failed = || FAILED.to_owned();
        let flags = (NGX_SSL_BUFFER | NGX_SSL_CLIENT) as ngx_uint_t;
        let name = expected_name(conf);
        // An address is not a name (RFC 6066, section 3).
        let is_name = !name.is_empty() && !name.starts_with('[') && name.parse::<IpAddr>().is_err();
        let sent = (conf.ssl_server_name == 1 && is_name).then(|| CString::new(name).ok());
        let name = sent.map(|name| name.ok_or_else(failed)).transpose()?;
        // SAFETY: the connection is open and has a pool, the settings have a context, and the TLS library copies the name.
        let status = unsafe {
            if (self.create)(conf.ssl, c.as_ptr(), flags) != OK {
                return Err(failed());
            }
            if let Some(name) = name {
                let (tls, text) = (session(c)?.connection.cast(), name.as_ptr());
                let (command, kind) = SET_HOST_NAME;
                let set = match self.set_name {
                    SetName::Function(set) => set(tls, text) != 0,
                    SetName::Macro(set) => set(tls, command, kind, text.cast_mut().cast()) != 0,
                };
                if !set {
                    return Err(failed());
                }
            }
            (self.handshake)(c.as_ptr())
        };
        match status {
            OK => Ok(true),
            status if status == NGX_AGAIN as ngx_int_t => {
                session(c)?.handler = Some(handler);
                Ok(false)
            }
            _ => Err(failed()),
        }
    }

    /// Checks that the handshake, which was begun here with the same settings, succeeded with the expected server.
    pub fn check(&self, c: Connection, conf: &ngx_http_upstream_conf_t) -> Result<(), String> {
        let name = expected_name(conf);
        let mut text = ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
        let ssl = session(c)?;
        if ssl.handshaked() == 0 {
            return Err(FAILED.to_owned());
        }
        if conf.ssl_verify != 1 {
            return Ok(());
        }
        // SAFETY: the connection is open, and has TLS since `begin`.
        let (result, matches) = unsafe {
            let result = (self.verify_result)(ssl.connection.cast());
            (result, result == 0 && (self.check_host)(c.as_ptr(), &raw mut text) == OK)
        };
        match result {
            0 if matches => Ok(()),
            0 => Err(format!("certificate does not match \"{name}\"")),
            _ => Err(format!("certificate verify error {result}")),
        }
    }
}

/// What TLS knows of the connection.
fn session<'a>(c: Connection) -> Result<&'a mut ngx_ssl_connection_t, String> {
    tls(c.get()).ok_or_else(|| FAILED.to_owned())
}

/// Whether TLS is spoken on the connection.
pub fn is_spoken(c: Connection) -> bool {
    !c.get().ssl.is_null()
}

/// Whether the TLS session of a connection is an earlier one; `None` without TLS.
pub fn resumed(c: Connection) -> Option<bool> {
    let tls = TlsClient::of_nginx().filter(|_| is_spoken(c))?;
    let mut text = ngx_str_t::empty();
    // SAFETY: the connection speaks TLS. nginx writes a static text, and has no use for the pool.
    unsafe { (tls.resumed)(c.as_ptr(), c.get().pool, &raw mut text) };
    Some(text.as_bytes() == b"r")
}

/// Closes a connection to a server that nobody uses any more; false, and nothing done, where it speaks TLS and nginx
/// does not export what ends that.
pub fn close(c: Connection) -> bool {
    if let Some(ssl) = tls(c.get()) {
        let Some(tls) = TlsClient::of_nginx() else { return false };
        ssl.set_no_wait_shutdown(1);
        ssl.set_no_send_shutdown(1);
        // SAFETY: the connection is open. Its state is freed without telling the server.
        unsafe { (tls.shutdown)(c.as_ptr()) };
    }
    c.finish();
    true
}

/// The name that the certificate must carry: that of the settings, without a port.
fn expected_name(conf: &ngx_http_upstream_conf_t) -> String {
    let name = ssl_name(conf).map(|name| name.value.as_bytes());
    without_port(&String::from_utf8_lossy(name.unwrap_or_default())).to_owned()
}
