//! The directives of nginx's own modules: found by name in the running nginx and called as its parser calls them. This
//! needs no private struct of nginx.

use std::collections::HashMap;
use std::ffi::{c_void, CStr};
use std::mem;
use std::ptr;

use crate::connection_settings::is_of_connection;
use crate::failure::Failure;
use crate::nginx::base::ffi::{
    ngx_array_t, ngx_command_t, ngx_conf_t, ngx_http_upstream_conf_t, ngx_module_t, ngx_str_t,
};
use crate::nginx::base::links::configuration::{commands, cycle, modules, name_of};
use crate::nginx::base::module::{HasConfs, Reach};
use crate::nginx::base::parser::{ConfExt, Stop, NO_MEMORY};
use crate::nginx::stock::field::{Field, Settings};
use crate::nginx::stock::level::Level;
use crate::recipe::{CANNOT_BE_INHERITED, RECIPE};

const PROXY: &CStr = c"ngx_http_proxy_module";
/// The modules whose directives are in the recipe.
const MODULES: &[&CStr] = &[
    PROXY,
    c"ngx_http_core_module",
    c"ngx_http_copy_filter_module",
    c"ngx_http_charset_filter_module",
    c"ngx_http_headers_filter_module",
    c"ngx_http_ssi_filter_module",
    c"ngx_http_sub_filter_module",
    c"ngx_http_addition_filter_module",
    c"ngx_http_gunzip_filter_module",
    c"ngx_http_userid_filter_module",
    c"ngx_http_mirror_module",
];
/// The directives that add to replies, and those that tell whether outer blocks' lines are inherited.
pub const ADDED: [[&str; 2]; 2] =
    [["add_header", "add_header_inherit"], ["add_trailer", "add_trailer_inherit"]];
/// Read, but never set: nginx checks it against sizes that the recipe sets.
pub const TEMP_FILE_WRITE_SIZE: &str = "proxy_temp_file_write_size";

/// A directive of the running nginx.
pub struct Directive {
    /// Its name.
    pub name: &'static str,
    /// Its entry in the module's table.
    pub command: &'static ngx_command_t,
    /// Its field.
    pub field: Field,
    /// Unchanged settings of the module: what differs from them was written by the user.
    pub pristine: Settings,
}

/// Where blocks keep the proxy module's settings of upstreams.
#[derive(Clone, Copy)]
pub struct ProxyConf {
    ctx_index: usize,
}

impl ProxyConf {
    /// The settings of a block.
    pub fn of(self, level: Level) -> &'static mut ngx_http_upstream_conf_t {
        // SAFETY: the module's settings begin with these, see `layout`. They live as long as the
        // configuration, nginx configures in one thread and changes nothing once requests are served, and no caller
        // keeps the reference over a call to nginx or to this.
        unsafe { &mut *level.conf(self.ctx_index).cast() }
    }
}

/// The stock directives that matter here and that this nginx has.
pub struct Stock {
    /// In no particular order, which stays.
    pub directives: Vec<Directive>,
    /// Their places by name: each location asks for hundreds.
    by_name: HashMap<&'static str, usize>,
    /// Where blocks keep the proxy module's settings of upstreams.
    pub proxy: ProxyConf,
}

impl Stock {
    /// Looks all directives up.
    pub fn find(cf: &mut ngx_conf_t) -> Result<Self, Stop> {
        let proxy =
            find_module(cf, PROXY).ok_or(Failure::MissingModule("ngx_http_proxy_module"))?;
        let mut modules = Vec::new();
        for module in MODULES.iter().filter_map(|name| find_module(cf, name)).collect::<Vec<_>>() {
            modules.push((module, Settings::pristine(cf, module).ok_or(NO_MEMORY)?));
        }
        let recipe = RECIPE.iter().map(|line| line.directive);
        let others = CANNOT_BE_INHERITED.iter().chain(ADDED.iter().flatten());
        let others = others.chain(&["proxy_pass", TEMP_FILE_WRITE_SIZE]).copied();
        let of_proxy = commands(proxy).filter_map(|command| command.name.to_str().ok());
        let connection = of_proxy.filter(|name| is_of_connection(name));
        let mut directives: Vec<Directive> = Vec::new();
        for name in recipe.chain(others).chain(connection) {
            if directives.iter().any(|known| known.name == name) {
                continue;
            }
            let found = modules.iter().find_map(|&(module, pristine)| {
                let command = find_command(module, name)?;
                Some(Directive { name, command, field: Field::of(module, command), pristine })
            });
            directives.extend(found);
        }
        let by_name = directives.iter().enumerate().map(|(at, one)| (one.name, at)).collect();
        Ok(Self { directives, by_name, proxy: ProxyConf { ctx_index: proxy.ctx_index } })
    }

    /// Whether this nginx has the directive.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The directive as this nginx has it.
    pub fn get(&self, name: &str) -> Option<&Directive> {
        self.position(name).map(|at| &self.directives[at])
    }

    /// The place of a directive among them.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Sets a directive in a block, as if the user had written it there, and returns whether it did. It does not if
    /// this nginx lacks the directive, or if the user has written it and it cannot be repeated.
    pub fn set(
        &self,
        cf: &mut ngx_conf_t,
        level: Level,
        name: &'static str,
        arguments: &[&[u8]],
    ) -> Result<bool, Stop> {
        let Some(directive) = self.get(name) else { return Ok(false) };
        call(cf, directive.command, level.conf(directive.field.ctx_index), name, arguments)
    }
}

/// Calls the `set` of a directive with our arguments; false if the block has the directive already.
fn call(
    cf: &mut ngx_conf_t,
    command: &'static ngx_command_t,
    conf: *mut c_void,
    name: &str,
    arguments: &[&[u8]],
) -> Result<bool, Stop> {
    // As in nginx, setters keep pointers to the texts, but none to the list, which has the next directive's words then.
    let mut words = vec![command.name];
    for argument in arguments {
        words.push(cf.copy(argument)?);
    }
    let (elts, nelts) = (words.as_mut_ptr().cast(), words.len());
    let size = size_of::<ngx_str_t>();
    let mut args = ngx_array_t { elts, nelts, size, nalloc: nelts, pool: cf.pool };
    let set = command.set.ok_or(Failure::MissingModule("a directive's setter"))?;
    let saved = mem::replace(&mut cf.args, &raw mut args);
    // SAFETY: this is how ngx_conf_handler calls it: the parser state with `args`, the table entry, which nothing
    // changes, and the configuration of the entry's module for the block. It returns null, NGX_CONF_ERROR where it has
    // logged, or a phrase.
    let phrase = unsafe {
        let answer = set(cf, ptr::from_ref(command).cast_mut(), conf);
        cf.args = saved;
        match answer.addr() {
            0 => return Ok(true),
            usize::MAX => return Err(Stop::Logged),
            _ => CStr::from_ptr(answer).to_string_lossy(),
        }
    };
    if phrase == "is duplicate" {
        return Ok(false);
    }
    Err(Failure::Internal(format!("\"{name}\" directive {phrase}")).into())
}

/// Calls a block directive of a module, such as `upstream`; `cf` has the text between the braces.
pub fn block(
    cf: &mut ngx_conf_t,
    module: &CStr,
    name: &str,
    arguments: &[&[u8]],
) -> Result<(), Stop> {
    let found = find_module(cf, module)
        .and_then(|module| Some((find_command(module, name)?, module.ctx_index)));
    let (command, index) = found.ok_or(Failure::MissingModule("ngx_http_upstream_module"))?;
    let conf = cf.confs(Reach::Main).map(|confs| confs.at(index));
    call(cf, command, conf.unwrap_or(ptr::null_mut()), name, arguments).map(|_| ())
}

/// Whether the module of this nginx has the directive.
pub fn exists(cf: &ngx_conf_t, module: &CStr, name: &str) -> bool {
    field(cf, module, name).is_some()
}

/// The field of a directive of a module.
pub fn field(cf: &ngx_conf_t, module: &CStr, name: &str) -> Option<Field> {
    let module = find_module(cf, module)?;
    find_command(module, name).map(|command| Field::of(module, command))
}

fn find_module(cf: &ngx_conf_t, name: &CStr) -> Option<&'static ngx_module_t> {
    modules(cycle(cf)).find(|module| name_of(module) == Some(name))
}

fn find_command(module: &'static ngx_module_t, name: &str) -> Option<&'static ngx_command_t> {
    commands(module).find(|command| command.name.as_bytes() == name.as_bytes())
}
