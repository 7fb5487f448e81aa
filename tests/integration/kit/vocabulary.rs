//! The words of random configurations: directives, where they may stand, and values, odd ones behind `||`.
//!
//! Places: `h`ttp, `s`erver, `l`ocation, `i`f in one, if in a server (`c`), `limit_except` (`x`); `*` is for those that
//! may be repeated.

/// What may stand behind `clerk_proxy`.
pub const URLS: &str = "https://app.dev/__clerk | https://app.dev/__clerk | https://app.dev/__clerk/ | \
    https://$host/__clerk | http://app.dev/__clerk | https://app.dev:8443/__clerk | https://[::1]/__clerk || \
    app.dev/__clerk | %KEY% | https://user:%KEY%@app.dev/__clerk | ftp://app.dev/__clerk | https://app.dev | \
    https://app.dev/other | \"\" | https://app.dev/{x} | https://$nope/__clerk | https://$/__clerk | \
    https://a.$clerk_key.b/__clerk | https://$clerk_proxy_client_ip/__clerk | https://$proxy_host/__clerk | \
    https://app.dev/$uri | \"https://app.dev/__clerk x\" | https://${host}:80/__clerk | \
    https://app.dev/__clerk?%KEY% | https://app.dev/%5F_clerk | https://a\\\"b/__clerk | https://ä.dev/__clerk";

/// Where a key comes from.
pub const KEYS: &str = "%KEY% | %KEY% | file:key | env:TEST_KEY | $clerk_key | ${clerk_key} | sk_test_two || \
    file:nowhere | file:empty | file:/ | file: | env: | env:NOT_SET | \"\" | file:%KEY% | env:%KEY% | pk_live_two | \
    %KEY%. | \"%KEY% x\" | %KEY%$nope | %KEY%$clerk_key | $ | ${ | ${clerk_key | $nope | x$clerk_key | $1 | \
    $clerk_proxy_uri | $http_clerk_secret_key | sk_live_*** | SK_LIVE_two | file:$clerk_key";

/// How many idle connections.
pub const NUMBERS: &str = "1 | 8 || 4294967295 | 0 | -1 | x | %KEY% | 99999999999";

/// Where the Frontend API is.
pub const ORIGINS: &str = "http://127.0.0.1:%FAPI%/base | http://localhost:%FAPI%/base | http://127.0.0.1:%BARE% | \
    https://localhost:%TLS%/base | https://localhost:%TLS%/base/ | http://fapi/base | https://secure/base | \
    http://unix:%DIR%/fapi.sock:/base || 127.0.0.1:%FAPI% | https://$host | %KEY% | http://%KEY% | http://ghost.test | \
    https://u:%KEY%@fapi | \"\" | http:// | http://unix: | http://unix:relative | http://127.0.0.1:0 | http://fapi:81 | \
    https://fapi/base | http://[::1]:1 | http://127.0.0.1:%FAPI%/a{b} | http://127.0.0.1:%FAPI%/a%20b/../c | \
    http://FAPI/base | https://frontend-api.clerk.dev | http://127.0.0.1:%FAPI%/(x | http://1.2.3 | http://own/%KEY%";

/// Directives of the module.
pub const CLERK: &str = "\
clerk_proxy_secret_key hsl: %KEY% | file:key | env:TEST_KEY | $clerk_key || file:nowhere | \"\" | %KEY%$nope | a b | $ | env:%KEY%
clerk_proxy_upstream hsl: http://127.0.0.1:%FAPI%/base | https://localhost:%TLS%/base | http://fapi/base || x | %KEY% | https://$host | http://ghost.test
clerk_proxy_client_ip hsl: $remote_addr | $http_cf_connecting_ip | $http_cloudfront_viewer_address | $http_x_forwarded_for | 127.0.0.9 | ${http_x_real_ip} || $ | ${ | $nope | x | \"\" | $clerk_proxy_client_ip | $clerk_proxy_uri | $clerk_key | %KEY% | $1 | a b
clerk_proxy -: https://app.dev/__clerk || https://app.dev/__clerk secret_key=%KEY% upstream=http://127.0.0.1:%FAPI%/base";

/// Blocks of the user.
pub const UPSTREAMS: &str = "upstream fapi { server 127.0.0.1:%FAPI%; server 127.0.0.1:%FAPI% backup; keepalive 4; } | \
    upstream secure { zone secure 64k; server localhost:%TLS%; keepalive 4; } | \
    upstream own { least_conn; server 127.0.0.1:%OWN%; } | map $host $clerk_key { default %KEY%; shop.example sk_live_shop; } | \
    proxy_cache_path cache keys_zone=c:64k levels=1:2; | limit_req_zone $host zone=r:64k rate=1000r/s; | \
    server { listen 127.0.0.1:%PORT%; server_name shop.example; return 204; }";

/// Directives of nginx's own.
pub const DIRECTIVES: &str = r#"proxy_bind hsl: 127.0.0.1 | off | $server_addr || 127.0.0.2 transparent | nonsense | $remote_addr transparent
proxy_buffer_size hsl: 4k | 8k | 16k | 32k || 0 | 1 | 100m | x | -1
proxy_buffering hsl: on | off || maybe
proxy_buffers hsl: 8 4k | 4 16k | 16 16k | 8 32k || 1 4k | 2 1 | 0 0 | 4 x | 1000000 4k
proxy_busy_buffers_size hsl: 8k | 16k || 32k | 0 | 1 | 100m | x
proxy_cache hsl: off | c || nowhere | $host | ""
proxy_cache_background_update hsl: on | off || x
proxy_cache_bypass hsl: $http_pragma | $arg_a $arg_b || $nope | $ | ""
proxy_cache_convert_head hsl: on | off || x
proxy_cache_key hsl: $host$uri | $clerk_proxy_uri | x || $nope | ${ | ""
proxy_cache_lock hsl: on | off || x
proxy_cache_lock_age hsl: 5s | 1 || x
proxy_cache_lock_timeout hsl: 100ms | 0 || x
proxy_cache_max_range_offset hsl: 0 | 1m || x
proxy_cache_methods hsl: GET | GET HEAD POST || BREW
proxy_cache_min_uses hsl: 1 | 2 || 0 | x
proxy_cache_path h*: cache2 keys_zone=d:64k || x | cache keys_zone=c:1 | cache3 keys_zone=c | cache levels=9 keys_zone=e:64k
proxy_cache_revalidate hsl: on | off || x
proxy_cache_use_stale hsl: error timeout | off | http_500 updating || x | off off
proxy_cache_valid hsl*: 200 1m | any 5s | 200 301 10s || x | 999 1m
proxy_connect_timeout hsl: 1s | 5s || 0 | x | 1y
proxy_cookie_domain hsl*: off | a.dev b.dev | ~\.dev$ .test || x | ~( x
proxy_cookie_flags hsl*: off | one secure | ~x httponly samesite=lax || x y
proxy_cookie_path hsl*: off | /a/ /b/ | ~*^/v1(.*) $1 || x | ~( x
proxy_force_ranges hsl: on | off || x
proxy_headers_hash_bucket_size hsl: 64 | 128 || 0 | 1 | 40 | x
proxy_headers_hash_max_size hsl: 512 | 1024 || 0 | 1 | x
proxy_hide_header hsl*: X-One | Content-Type | Set-Cookie | X-Accel-Redirect || "" | "a b" | Clerk-Secret-Key
proxy_http_version hsl: 1.0 | 1.1 || 2 | x
proxy_ignore_client_abort hsl: on | off || x
proxy_ignore_headers hsl: Set-Cookie | Vary X-Accel-Redirect | Expires Cache-Control || x | Vary Vary
proxy_intercept_errors hsl: on | off || x
proxy_limit_rate hsl: 0 | 100k || -1 | x
proxy_max_temp_file_size hsl: 0 | 1m | 1024m || 1 | x
proxy_method l: GET | POST | PUT | $request_method || "" | $nope | "A B"
proxy_next_upstream hsl: error | error timeout non_idempotent http_503 | off || x | error error
proxy_next_upstream_timeout hsl: 0 | 1s || x
proxy_next_upstream_tries hsl: 0 | 1 | 3 || x | -1
proxy_no_cache hsl: $http_pragma | 1 || $nope | $
proxy_pass li: http://127.0.0.1:%OWN% || http://own/x | http://$nope | x | http://127.0.0.1:%OWN%/x | https://own | http://fapi
proxy_pass_header hsl*: Server | Date | X-Accel-Redirect || "" | "a b"
proxy_pass_request_body hsl: on | off || x
proxy_pass_request_headers hsl: on | off || x
proxy_read_timeout hsl: 5s | 10s || 0 | 1ms | x
proxy_redirect hsl*: off | http://own/ /own/ | ~^/(x.*)$ /y$1 | / / || default | ~( x | x | $nope y | default x
proxy_request_buffering hsl: on | off || x
proxy_send_lowat hsl: 0 | 1 || x
proxy_send_timeout hsl: 5s || 0 | x
proxy_set_body l: "" | hello | $request_body || $nope | $
proxy_set_header hsl*: Authorization "Basic b3duOm93bg==" | Cookie "" | Origin "" | Accept-Encoding "" | User-Agent own | X-Real-IP $remote_addr | CF-Connecting-IP $http_cf_connecting_ip | X-One 1 | X-One "" | Host own.test | X-Forwarded-Host own.test | Connection close | X-Key $clerk_key | Content-Length 3 | Upgrade $http_upgrade | X-Forwarded-Proto gopher || Clerk-Secret-Key sk_live_outer | X-Forwarded-For 6.6.6.6 | clerk-proxy-url x | "" x | X-Two $nope | "a b" c | X-Three $ | Host "" | TE x | cookie a=b
proxy_socket_keepalive hsl: on | off || x
proxy_ssl_certificate hsl: cert.pem; proxy_ssl_certificate_key cert.key || cert.pem | $arg_cert | nowhere.pem | "" | ca.pem
proxy_ssl_certificate_key -: cert.key | nowhere.key | key | data:x
proxy_ssl_ciphers hsl: DEFAULT | HIGH:!aNULL || nonsense | ""
proxy_ssl_conf_command hsl*: Options -SessionTicket | Protocol -TLSv1.1 || Nonsense x | Options x
proxy_ssl_crl -: nowhere.pem | ca.pem
proxy_ssl_name hsl: localhost | $proxy_host | $host || "" | $nope | a.test
proxy_ssl_password_file hsl: empty | passwords || nowhere
proxy_ssl_protocols hsl: TLSv1.2 TLSv1.3 | TLSv1.3 || SSLv2 | x | TLSv1.3 TLSv1.3
proxy_ssl_server_name hsl: on | off || x
proxy_ssl_session_reuse hsl: on | off || x
proxy_ssl_trusted_certificate hsl: ca.pem | %DIR%/ca.pem | bundle.pem || nowhere.pem | empty | key | ""
proxy_ssl_verify hsl: on | off || x
proxy_ssl_verify_depth hsl: 1 | 9 || 0 | x
proxy_store hsl: off | on | stored$uri || $nope | ${ | ""
proxy_store_access hsl: user:rw | user:rw all:r || x
proxy_temp_file_write_size hsl: 16k | 64k | 128k || 0 | 1 | x
proxy_temp_path sl: proxy2 | proxy3 1 2 || /nowhere/x | proxy 9
client_body_buffer_size hsl: 1k | 16k | 1m || 0 | 1 | x
client_body_in_file_only hsl: off | clean | on || x
client_body_in_single_buffer hsl: on | off || x
client_body_temp_path sl: body2 | body3 1 || /nowhere/x | body 4
client_body_timeout hsl: 5s || 0 | x
client_header_buffer_size hs: 1k | 4k || 0 | 1 | x
client_header_timeout hs: 5s || x
client_max_body_size hsl: 0 | 1 | 1k | 10m || x | -1
large_client_header_buffers hs: 4 8k | 2 1k || 0 0 | 1 x
error_page hsli*: 404 /own/404 | 502 504 = @named | 500 503 =200 /other/x | 403 https://app.dev/ | 502 /__clerk/v1 || 200 /x | 502 | 404 = | 404 $nope
return lic: 204 | 200 "ok $clerk_proxy_client_ip" | 404 | 301 https://app.dev$request_uri | 444 || 9999 | x | 200 $nope | http://x
rewrite slic*: ^/__clerk/(.*)$ /$1 break | ^ /index.html break | ^/old/(.*)$ /__clerk/$1 last | ^/__clerk/v2/x /__clerk/%2f..%2fz?q break | ^/other(.*) /__clerk$1 || ( x | ^ /x nonsense | ^ /x$nope | ^ /__clerk/..//x last | ^ /loop last
set slic*: $x $uri | $y $clerk_proxy_uri | $z $clerk_proxy_client_ip || x y | $x $nope | $clerk_proxy_uri x | $proxy_host x | $host x | $clerk_key x
root hslic: html || $nope
alias -: %DIR%/ | $nope | ""
try_files sl: $uri @named | $uri /own/ | $uri =404 | /x /__clerk/v1 || $uri | $nope =404
index hsl: index.html | x.html /__clerk/v1
internal l: || x
auth_request hsl: off | /allowed || /own/auth | ""
auth_basic hslx: off || closed
mirror hsl*: off | /own/mirror || /__clerk/mirror | ""
satisfy hsl: any | all || x
allow hslx*: all | 127.0.0.1 || x
deny hslx*: 192.0.2.1 || all | x
expires hsli: off | 1h | epoch || x | $nope
charset hsli: utf-8 | off || $nope
gzip hsli: on | off || x
gzip_types hsl: * | application/json
sub_filter hsl*: ok ko | $host x || a
sub_filter_types hsl: *
add_after_body hsl: /own/x | "" || /__clerk/v1
add_trailer hsli*: X-Trailer 1 always || X
gunzip hsl: on | off || x
userid hsl: on | off || x
limit_req hsl*: zone=r burst=100 nodelay || zone=nowhere
add_header hsli*: Cache-Control "public, max-age=31536000, immutable" always | Access-Control-Allow-Origin * | Set-Cookie seen=1 | Strict-Transport-Security max-age=1 always | Vary "" | X-Two 2 always | X-Uri $clerk_proxy_uri || X | X $nope
add_before_body hsl: /own/x | "" || /__clerk/v1
ssi hsli: on | off || x
slice hsl: 0 | 1k || x
limit_rate hsli: 0 | 1m || x
resolver hsl: 127.0.0.1:1 ipv6=off || nowhere.test | x:y
chunked_transfer_encoding hsl: on | off || x
etag hsl: on | off
default_type hsl: text/html | application/json || ""
postpone_output hsl: 0 | 1460 || x
sendfile hsli: on | off || x
tcp_nodelay hsl: on | off
reset_timedout_connection hsl: on | off
keepalive_timeout hsl: 5s | 0 || x
keepalive_requests hsl: 1 | 100 || x
lingering_close hsl: on | off | always || x
subrequest_output_buffer_size hsl: 4k || x
log_subrequest hsl: on | off
access_log hsli*: off | logs/own.log || logs/own.log nowhere | /nowhere/x.log
error_log hsl: logs/own-error.log info || logs/x.log nonsense | logs/own-error.log debug
server_name s*: app.dev | shop.example | _ | ~^(?<label>.+)\.dev$ | "" || ~( | $nope
listen s*: 127.0.0.1:%PORT2% | unix:%DIR%/own.sock || x:y | 127.0.0.1:99999 | 127.0.0.1:%PORT% default_server
merge_slashes hs: on | off || x
underscores_in_headers hs: on | off || x
ignore_invalid_headers hs: on | off || x
server_tokens hsl: on | off
absolute_redirect hsl: on | off
port_in_redirect hsl: on | off
server_name_in_redirect hsl: on | off
msie_padding hsl: on | off
recursive_error_pages hsl: on | off
real_ip_header hsl: X-Forwarded-For | X-Real-IP | CF-Connecting-IP || ""
set_real_ip_from hsl*: 127.0.0.0/8 | 127.0.0.1 | unix: || x
real_ip_recursive hsl: on | off || x
autoindex hsl: on | off
stub_status l: ||
stub_status l: on
empty_gif l: ||
fastcgi_pass li: 127.0.0.1:1 || x:y
nonsense -: x | %KEY%"#;
