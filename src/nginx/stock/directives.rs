//! The directives of nginx's own modules: found by name in the running nginx and called as its parser calls
//! them. No private struct of nginx is needed for it.

use std::ffi::{c_char, c_void, CStr};
use std::ptr::NonNull;

use crate::failure::Failure;
use crate::nginx::base::ffi::{
    ngx_array_create, ngx_array_push, ngx_command_t, ngx_conf_t, ngx_http_module_t, ngx_module_t,
    ngx_str_t,
};
use crate::nginx::base::parser::{ConfExt, Stop, NO_MEMORY};
use crate::nginx::stock::connection_settings::is_of_connection;
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
/// Those that add to replies, and what says whether those of outer blocks do.
pub const ADDED: [[&str; 2]; 2] =
    [["add_header", "add_header_inherit"], ["add_trailer", "add_trailer_inherit"]];
/// Asked for, but never set: nginx checks it against sizes that the recipe sets.
pub const TEMP_FILE_WRITE_SIZE: &str = "proxy_temp_file_write_size";

/// A directive of the running nginx.
pub struct Directive {
    /// Its name.
    pub name: &'static str,
    /// Its entry in the module's table.
    pub command: NonNull<ngx_command_t>,
    /// The module's place in a block's configurations.
    pub ctx_index: usize,
    /// A configuration of the module that nobody changed: what differs from it was written by the user.
    pub pristine: *mut c_void,
}

/// The stock directives that matter here as this nginx has them; those that it lacks are left out.
pub struct Stock {
    /// In no particular order, which stays.
    pub directives: Vec<Directive>,
}

impl Stock {
    /// Looks all directives up.
    pub fn find(cf: &mut ngx_conf_t) -> Result<Self, Stop> {
        let mut directives: Vec<Directive> = Vec::new();
        let proxy =
            find_module(cf, PROXY).ok_or(Failure::MissingModule("ngx_http_proxy_module"))?;
        let mut confs = Vec::new();
        for module in MODULES.iter().filter_map(|name| find_module(cf, name)).collect::<Vec<_>>() {
            // SAFETY: the context of a module of type NGX_HTTP_MODULE is an `ngx_http_module_t`; its
            // `create_loc_conf` takes the parser state and returns a fresh configuration or null.
            let conf = unsafe {
                let create = (*module.ctx.cast::<ngx_http_module_t>()).create_loc_conf;
                create.and_then(|create| NonNull::new(create(cf)))
            };
            confs.push((module, conf.ok_or(NO_MEMORY)?));
        }
        let recipe = RECIPE.iter().map(|line| line.directive);
        let others = CANNOT_BE_INHERITED.iter().chain(ADDED.iter().flatten()).copied();
        let others = others.chain(["proxy_pass", TEMP_FILE_WRITE_SIZE]);
        let connection = commands(proxy).filter_map(|command| {
            // SAFETY: a module's table lives as long as the process uses the module.
            let name = unsafe { &command.as_ref().name };
            std::str::from_utf8(name.as_bytes()).ok()
        });
        let connection = connection.filter(|name| is_of_connection(name));
        for name in recipe.chain(others).chain(connection) {
            if directives.iter().any(|known| known.name == name) {
                continue;
            }
            let found = confs.iter().find_map(|(module, pristine)| {
                let command = find_command(module, name)?;
                let ctx_index = module.ctx_index;
                Some(Directive { name, command, ctx_index, pristine: pristine.as_ptr() })
            });
            directives.extend(found);
        }
        Ok(Self { directives })
    }

    /// Whether this nginx has the directive.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The directive as this nginx has it.
    pub fn get(&self, name: &str) -> Option<&Directive> {
        self.directives.iter().find(|directive| directive.name == name)
    }

    /// Sets a directive in a block, as if the user had written it there, and returns whether it is. Nothing
    /// happens where this nginx lacks it, or where a line of the user's that cannot be repeated stands
    /// already.
    pub fn set(
        &self,
        cf: &mut ngx_conf_t,
        level: Level,
        name: &'static str,
        arguments: &[&[u8]],
    ) -> Result<bool, Stop> {
        let Some(directive) = self.get(name) else { return Ok(false) };
        call(cf, directive.command, level.conf(directive.ctx_index), name, arguments)
    }
}

/// Calls the `set` of a directive with arguments of ours; false where the directive stands already.
fn call(
    cf: &mut ngx_conf_t,
    mut command: NonNull<ngx_command_t>,
    conf: *mut c_void,
    name: &str,
    arguments: &[&[u8]],
) -> Result<bool, Stop> {
    // In the pool, as nginx has it: some setters keep pointers to the words, and a block's parser reads its
    // own words into the same array.
    // SAFETY: `pool` is the configuration's; the array is null or has room for what is pushed.
    let args = unsafe { ngx_array_create(cf.pool, 10, size_of::<ngx_str_t>()) };
    if args.is_null() {
        return Err(NO_MEMORY);
    }
    for word in [name.as_bytes()].iter().chain(arguments) {
        let word = cf.copy(word)?;
        // SAFETY: as above; a pushed element is null or fresh memory of the array's type.
        unsafe {
            let element = ngx_array_push(args).cast::<ngx_str_t>();
            if element.is_null() {
                return Err(NO_MEMORY);
            }
            element.write(word);
        }
    }
    // SAFETY: the table entry lives as long as its module.
    let set =
        unsafe { command.as_ref() }.set.ok_or(Failure::MissingModule("a directive's setter"))?;
    let saved = cf.args;
    cf.args = args;
    // SAFETY: this is how ngx_conf_handler calls it: the parser state with `args`, the table entry and the
    // configuration of the entry's module for the block.
    let answer = unsafe { set(cf, command.as_mut(), conf) };
    cf.args = saved;
    if answer.is_null() {
        return Ok(true);
    }
    // NGX_CONF_ERROR: it has logged already.
    if answer == usize::MAX as *mut c_char {
        return Err(Stop::Logged);
    }
    // SAFETY: any other answer is a zero-terminated phrase.
    let phrase = unsafe { CStr::from_ptr(answer) }.to_string_lossy();
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
    let command = find_module(cf, module).and_then(|module| find_command(module, name));
    let command = command.ok_or(Failure::MissingModule("ngx_http_upstream_module"))?;
    call(cf, command, std::ptr::null_mut(), name, arguments).map(|_| ())
}

/// Whether the module of this nginx has the directive.
pub fn exists(cf: &ngx_conf_t, module: &CStr, name: &str) -> bool {
    offset(cf, module, name).is_some()
}

/// The place of a module's settings in those of a block, and that of the directive's field in them.
pub fn offset(cf: &ngx_conf_t, module: &CStr, name: &str) -> Option<(usize, usize)> {
    let module = find_module(cf, module)?;
    // SAFETY: the table entry lives as long as its module.
    find_command(module, name).map(|command| (module.ctx_index, unsafe { command.as_ref() }.offset))
}

fn find_module(cf: &ngx_conf_t, name: &CStr) -> Option<&'static ngx_module_t> {
    // SAFETY: `cycle->modules` is an array of modules that ends with null; modules live as long as the
    // process uses them, and each has a name once the cycle knows it.
    unsafe {
        let mut next = (*cf.cycle).modules;
        while let Some(module) = (*next).as_ref() {
            if !module.name.is_null() && CStr::from_ptr(module.name) == name {
                return Some(module);
            }
            next = next.add(1);
        }
    }
    None
}

fn find_command(module: &'static ngx_module_t, name: &str) -> Option<NonNull<ngx_command_t>> {
    // SAFETY: the table lives as long as the process uses the module.
    commands(module).find(|command| unsafe { command.as_ref() }.name.as_bytes() == name.as_bytes())
}

/// The directives of a module.
fn commands(module: &'static ngx_module_t) -> impl Iterator<Item = NonNull<ngx_command_t>> {
    let mut next = NonNull::new(module.commands);
    std::iter::from_fn(move || {
        // SAFETY: a module's commands are null or an array that ends with an empty name.
        let command = next.filter(|command| unsafe { command.as_ref() }.name.len > 0)?;
        // SAFETY: as above; behind a command with a name there is another.
        next = Some(unsafe { command.add(1) });
        Some(command)
    })
}
