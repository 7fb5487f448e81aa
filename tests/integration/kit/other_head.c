/* Preloaded into nginx by tests: another module that reads the heads of replies, and comes after all others. */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

extern ngx_module_t ngx_http_range_body_filter_module;

static ngx_int_t (*postconfiguration)(ngx_conf_t *cf);
static ngx_http_upstream_init_peer_pt next_init;
static ngx_int_t (*next_process)(ngx_http_request_t *r);

static ngx_int_t process_header(ngx_http_request_t *r)
{
    ngx_log_error(NGX_LOG_NOTICE, r->connection->log, 0, "a head of %uz bytes",
                  (size_t) (r->upstream->buffer.last - r->upstream->buffer.pos));
    return next_process(r);
}

static ngx_int_t init_peer(ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us)
{
    next_process = r->upstream->process_header;
    r->upstream->process_header = process_header;
    return next_init(r, us);
}

static ngx_int_t hook(ngx_conf_t *cf)
{
    ngx_http_upstream_main_conf_t *conf =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_upstream_module);
    ngx_http_upstream_srv_conf_t **upstreams = conf->upstreams.elts;

    for (ngx_uint_t i = 0; i < conf->upstreams.nelts; i++) {
        if (upstreams[i]->peer.init) {
            next_init = upstreams[i]->peer.init;
            upstreams[i]->peer.init = init_peer;
        }
    }
    return postconfiguration ? postconfiguration(cf) : NGX_OK;
}

__attribute__((constructor)) static void begin(void)
{
    ngx_http_module_t *last = ngx_http_range_body_filter_module.ctx;

    postconfiguration = last->postconfiguration;
    last->postconfiguration = hook;
}
