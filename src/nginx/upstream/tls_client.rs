//! TLS towards a server, by functions of the running nginx that are looked up by name: an nginx without TLS can load
//! this module, too.

use std::ffi::{c_int, c_long, c_void, CString};
use std::net::IpAddr;

use crate::nginx::base::connection::Connection;
use crate::nginx::base::ffi::{
    ngx_connection_t, ngx_http_upstream_conf_t, ngx_int_t, ngx_ssl_t, ngx_str_t, ngx_uint_t,
    NGX_AGAIN, NGX_SSL_BUFFER, NGX_SSL_CLIENT,
};
use crate::nginx::base::status::OK;
use crate::nginx::base::symbols::find;

/// `SSL_CTRL_SET_TLSEXT_HOSTNAME` and `TLSEXT_NAMETYPE_host_name`, of which OpenSSL makes a macro.
const SET_HOST_NAME: (c_int, c_long) = (55, 0);

type Handler = unsafe extern "C" fn(*mut ngx_connection_t);

/// The functions that a client needs.
#[derive(Clone, Copy)]
pub struct TlsClient {
    create: unsafe extern "C" fn(*mut ngx_ssl_t, *mut ngx_connection_t, ngx_uint_t) -> ngx_int_t,
    handshake: unsafe extern "C" fn(*mut ngx_connection_t) -> ngx_int_t,
    check_host: unsafe extern "C" fn(*mut ngx_connection_t, *mut ngx_str_t) -> ngx_int_t,
    shutdown: unsafe extern "C" fn(*mut ngx_connection_t) -> ngx_int_t,
    verify_result: unsafe extern "C" fn(*const c_void) -> c_long,
    control: unsafe extern "C" fn(*mut c_void, c_int, c_long, *mut c_void) -> c_long,
}

impl TlsClient {
    /// The functions of this nginx, if it has them all.
    pub fn of_nginx() -> Option<Self> {
        // SAFETY: the types are those of nginx's and OpenSSL's headers.
        unsafe {
            Some(Self {
                create: find(c"ngx_ssl_create_connection")?,
                handshake: find(c"ngx_ssl_handshake")?,
                check_host: find(c"ngx_ssl_check_host")?,
                shutdown: find(c"ngx_ssl_shutdown")?,
                verify_result: find(c"SSL_get_verify_result")?,
                control: find(c"SSL_ctrl")?,
            })
        }
    }

    /// Begins a handshake; returns whether it is complete. If not, `handler` is called later.
    ///
    /// # Safety
    ///
    /// The connection is open, has a pool and no TLS yet; the settings are those of a location that speaks TLS.
    pub unsafe fn begin(
        &self,
        c: *mut ngx_connection_t,
        conf: *mut ngx_http_upstream_conf_t,
        handler: Handler,
    ) -> Result<bool, String> {
        let failed = || "TLS handshake failed".to_owned();
        let flags = (NGX_SSL_BUFFER | NGX_SSL_CLIENT) as ngx_uint_t;
        // SAFETY: promised by the caller.
        unsafe {
            if (self.create)((*conf).ssl, c, flags) != OK {
                return Err(failed());
            }
            let ssl = (*c).ssl;
            let name = expected_name(conf);
            // An address is not a name (RFC 6066, section 3).
            let is_address = name.starts_with('[') || name.parse::<IpAddr>().is_ok();
            if (*conf).ssl_server_name == 1 && !name.is_empty() && !is_address {
                let name = CString::new(name).map_err(|_| failed())?;
                let ((command, kind), text) = (SET_HOST_NAME, name.as_ptr().cast_mut().cast());
                if (self.control)((*ssl).connection.cast(), command, kind, text) == 0 {
                    return Err(failed());
                }
            }
            match (self.handshake)(c) {
                OK => Ok(true),
                status if status == NGX_AGAIN as ngx_int_t => {
                    (*ssl).handler = Some(handler);
                    Ok(false)
                }
                _ => Err(failed()),
            }
        }
    }

    /// Checks that the handshake succeeded with the expected server.
    ///
    /// # Safety
    ///
    /// The handshake was begun here, with the same settings.
    pub unsafe fn check(
        &self,
        c: *mut ngx_connection_t,
        conf: *mut ngx_http_upstream_conf_t,
    ) -> Result<(), String> {
        // SAFETY: promised by the caller.
        unsafe {
            if (*(*c).ssl).handshaked() == 0 {
                return Err("TLS handshake failed".to_owned());
            }
            if (*conf).ssl_verify != 1 {
                return Ok(());
            }
            let result = (self.verify_result)((*(*c).ssl).connection.cast());
            if result != 0 {
                return Err(format!("certificate verify error {result}"));
            }
            let name = expected_name(conf);
            let mut text = ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
            if (self.check_host)(c, &raw mut text) != OK {
                return Err(format!("certificate does not match \"{name}\""));
            }
            Ok(())
        }
    }

    /// Frees the TLS state of a connection without telling the server.
    ///
    /// # Safety
    ///
    /// The connection is open.
    unsafe fn end(&self, c: *mut ngx_connection_t) {
        // SAFETY: promised by the caller.
        unsafe {
            if let Some(ssl) = (*c).ssl.as_mut() {
                ssl.set_no_wait_shutdown(1);
                ssl.set_no_send_shutdown(1);
                (self.shutdown)(c);
            }
        }
    }
}

/// Whether TLS is spoken on the connection.
pub fn is_spoken(c: Connection) -> bool {
    !c.get().ssl.is_null()
}

/// Closes a connection to a server that nobody uses any more; false, and nothing done, where it speaks TLS and nginx
/// does not export what ends that.
pub fn close(c: Connection) -> bool {
    if is_spoken(c) {
        let Some(tls) = TlsClient::of_nginx() else { return false };
        // SAFETY: the connection is open.
        unsafe { tls.end(c.as_ptr()) };
    }
    c.finish();
    true
}

/// The name that the certificate must carry: that of the settings, without a port.
///
/// # Safety
///
/// The settings are those of a location that speaks TLS.
unsafe fn expected_name(conf: *mut ngx_http_upstream_conf_t) -> String {
    // SAFETY: promised by the caller; the name is one of the configuration.
    let name = unsafe { (*conf).ssl_name.as_ref() }.map(|name| name.value.as_bytes());
    let name = String::from_utf8_lossy(name.unwrap_or_default());
    let behind = if name.starts_with('[') { name.find(']').unwrap_or(0) } else { 0 };
    let port = name[behind..].find(':').map_or(name.len(), |colon| behind + colon);
    name[..port].to_owned()
}
