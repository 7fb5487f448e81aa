/* A module that does what modules may do: it takes part in the choice of servers of all upstreams, it keeps something
 * of each request, asks for variables and adds headers, and it takes the environment away as Debian's Perl module does. */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <stdlib.h>

extern ngx_module_t ngx_http_neighbour_module;

typedef struct {
    ngx_http_upstream_init_peer_pt original;
} ngx_http_neighbour_srv_conf_t;

static ngx_int_t ngx_http_neighbour_request_uri, ngx_http_neighbour_remote_addr, ngx_http_neighbour_host;
static ngx_http_output_header_filter_pt ngx_http_neighbour_next_header_filter;
static ngx_http_request_body_filter_pt ngx_http_neighbour_next_request_body_filter;
static ngx_int_t (*ngx_http_neighbour_original_create_request)(ngx_http_request_t *r);

static void
ngx_http_neighbour_cleanup(void *data)
{
    ngx_log_error(NGX_LOG_DEBUG, ngx_cycle->log, 0, "neighbour: %p", data);
}

static ngx_int_t
ngx_http_neighbour_init_peer(ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us)
{
    ngx_pool_cleanup_t *cln;
    ngx_table_elt_t *h;
    ngx_http_variable_value_t *v;
    ngx_http_core_loc_conf_t *clcf;
    ngx_http_core_srv_conf_t *cscf;
    ngx_http_core_main_conf_t *cmcf;
    ngx_http_neighbour_srv_conf_t *conf = ngx_http_conf_upstream_srv_conf(us, ngx_http_neighbour_module);

    if (ngx_http_get_module_ctx(r->main, ngx_http_neighbour_module) == NULL) {
        ngx_http_set_ctx(r->main, conf, ngx_http_neighbour_module);
    }
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    cscf = ngx_http_get_module_srv_conf(r, ngx_http_core_module);
    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);
    cln = ngx_pool_cleanup_add(r->pool, 0);
    h = ngx_list_push(&r->headers_in.headers);
    if (cln == NULL || h == NULL || clcf == NULL || cscf->ctx == NULL || cmcf->servers.nelts == 0) {
        return NGX_ERROR;
    }
    cln->handler = ngx_http_neighbour_cleanup;
    ngx_memzero(h, sizeof(*h));
    h->hash = 1;
    ngx_str_set(&h->key, "X-Neighbour");
    ngx_str_set(&h->value, "here");
    h->lowcase_key = (u_char *) "x-neighbour";
    (void) ngx_http_get_indexed_variable(r, ngx_http_neighbour_request_uri);
    (void) ngx_http_get_indexed_variable(r, ngx_http_neighbour_host);
    v = ngx_http_get_indexed_variable(r, ngx_http_neighbour_remote_addr);
    if (v == NULL || v->not_found || r->connection->sockaddr->sa_family == AF_UNIX) {
        return NGX_ERROR;
    }
    return conf->original(r, us);
}

/* Where a client says so, a buffer stands before the request that the proxy module has made. */
static ngx_int_t
ngx_http_neighbour_create_request(ngx_http_request_t *r)
{
    ngx_buf_t *b;
    ngx_chain_t *cl;

    if (ngx_http_neighbour_original_create_request(r) != NGX_OK) {
        return NGX_ERROR;
    }
    b = ngx_create_temp_buf(r->pool, 4);
    cl = ngx_alloc_chain_link(r->pool);
    if (b == NULL || cl == NULL) {
        return NGX_ERROR;
    }
    b->last = ngx_cpymem(b->last, "\r\n\r\n", 4);
    cl->buf = b;
    cl->next = r->upstream->request_bufs;
    r->upstream->request_bufs = cl;
    return NGX_OK;
}

static ngx_int_t
ngx_http_neighbour_request_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_uint_t i;
    ngx_list_part_t *part = &r->headers_in.headers.part;
    ngx_table_elt_t *h = part->elts;

    for (i = 0; r->upstream != NULL && i < part->nelts; i++) {
        if (h[i].key.len == sizeof("X-Rewritten") - 1 && r->upstream->create_request != NULL
            && ngx_strncmp(h[i].key.data, "X-Rewritten", h[i].key.len) == 0)
        {
            ngx_http_neighbour_original_create_request = r->upstream->create_request;
            r->upstream->create_request = ngx_http_neighbour_create_request;
            break;
        }
    }
    return ngx_http_neighbour_next_request_body_filter(r, in);
}

/* What is pushed to the headers of a request must have room there. */
static ngx_int_t
ngx_http_neighbour_header_filter(ngx_http_request_t *r)
{
    ngx_list_t *list = &r->headers_in.headers;
    ngx_uint_t i, room = list->nalloc - list->last->nelts;

    if (list->nalloc == 0) {
        ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0, "neighbour: a list without room");
        return ngx_http_neighbour_next_header_filter(r);
    }
    for (i = 0; i <= room; i++) {
        ngx_table_elt_t *h = ngx_list_push(list);
        if (h == NULL) {
            return NGX_ERROR;
        }
        ngx_memzero(h, sizeof(*h));
        ngx_str_set(&h->key, "X-Neighbour");
        ngx_str_set(&h->value, "here");
        h->lowcase_key = (u_char *) "x-neighbour";
    }
    return ngx_http_neighbour_next_header_filter(r);
}

static void *
ngx_http_neighbour_create_srv_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_neighbour_srv_conf_t));
}

static ngx_int_t
ngx_http_neighbour_postconfiguration(ngx_conf_t *cf)
{
    ngx_uint_t i;
    ngx_str_t uri = ngx_string("request_uri"), addr = ngx_string("remote_addr"), host = ngx_string("host");
    ngx_http_upstream_main_conf_t *umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_upstream_module);
    ngx_http_upstream_srv_conf_t **uscfp = umcf->upstreams.elts;

    ngx_http_neighbour_request_uri = ngx_http_get_variable_index(cf, &uri);
    ngx_http_neighbour_remote_addr = ngx_http_get_variable_index(cf, &addr);
    ngx_http_neighbour_host = ngx_http_get_variable_index(cf, &host);
    if (ngx_http_neighbour_request_uri == NGX_ERROR || ngx_http_neighbour_remote_addr == NGX_ERROR
        || ngx_http_neighbour_host == NGX_ERROR)
    {
        return NGX_ERROR;
    }
    for (i = 0; i < umcf->upstreams.nelts; i++) {
        if (uscfp[i]->srv_conf != NULL) {
            ngx_http_neighbour_srv_conf_t *conf = ngx_http_conf_upstream_srv_conf(uscfp[i], ngx_http_neighbour_module);
            conf->original = uscfp[i]->peer.init;
            uscfp[i]->peer.init = ngx_http_neighbour_init_peer;
        }
    }
    ngx_http_neighbour_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_neighbour_header_filter;
    ngx_http_neighbour_next_request_body_filter = ngx_http_top_request_body_filter;
    ngx_http_top_request_body_filter = ngx_http_neighbour_request_body_filter;
    return NGX_OK;
}

static ngx_int_t
ngx_http_neighbour_init_module(ngx_cycle_t *cycle)
{
    return clearenv() == 0 ? NGX_OK : NGX_ERROR;
}

static ngx_http_module_t ngx_http_neighbour_module_ctx = {
    NULL, ngx_http_neighbour_postconfiguration, NULL, NULL, ngx_http_neighbour_create_srv_conf, NULL, NULL, NULL
};

ngx_module_t ngx_http_neighbour_module = {
    NGX_MODULE_V1, &ngx_http_neighbour_module_ctx, NULL, NGX_HTTP_MODULE, NULL, ngx_http_neighbour_init_module,
    NULL, NULL, NULL, NULL, NULL, NGX_MODULE_V1_PADDING
};

/* Before the module under test puts itself in front of the choice of servers, as a module that is linked in is. */
ngx_module_t *ngx_modules[] = { &ngx_http_neighbour_module, NULL };
char *ngx_module_names[] = { "ngx_http_neighbour_module", NULL };
char *ngx_module_order[] = { "ngx_http_neighbour_module", "ngx_http_clerk_proxy_filter_module", NULL };
