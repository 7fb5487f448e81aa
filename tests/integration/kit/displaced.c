/* Preloaded into nginx by tests: a field that has another place than its headers say, as in a fork. */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

extern ngx_module_t ngx_http_proxy_module;

static const char *displaced;
static ngx_int_t (*preconfiguration)(ngx_conf_t *cf);

static ngx_int_t displace_variable(ngx_conf_t *cf)
{
    ngx_int_t result = preconfiguration(cf);
    ngx_http_core_main_conf_t *conf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_hash_key_t *keys = conf->variables_keys->keys.elts;

    for (ngx_uint_t i = 0; i < conf->variables_keys->keys.nelts; i++) {
        if (keys[i].key.len == ngx_strlen(displaced)
            && ngx_strncmp(keys[i].key.data, displaced, keys[i].key.len) == 0)
        {
            ((ngx_http_variable_t *) keys[i].value)->data += 8;
        }
    }
    return result;
}

__attribute__((constructor)) static void begin(void)
{
    ngx_module_t *modules[] = {&ngx_core_module, &ngx_http_core_module, &ngx_http_proxy_module};
    ngx_http_module_t *core = ngx_http_core_module.ctx;

    displaced = getenv("CLERK_PROXY_DISPLACED");
    if (!displaced) {
        return;
    }
    /* Angie makes itself another environment. */
    displaced = strdup(displaced);
    for (int i = 0; i < 3; i++) {
        for (ngx_command_t *command = modules[i]->commands; command->name.len; command++) {
            if (ngx_strcmp(command->name.data, displaced) == 0) {
                command->offset += 8;
            }
        }
    }
    preconfiguration = core->preconfiguration;
    core->preconfiguration = displace_variable;
}
