//! The directives of nginx's own modules: found by name in the running nginx, called as its parser calls
//! them, and asked what the user wrote. No private struct of nginx is needed for it.

use std::ffi::{c_char, c_void, CStr};
use std::ptr::NonNull;
use std::slice;

use ngx::ffi::{
    ngx_array_create, ngx_array_push, ngx_array_t, ngx_command_t, ngx_conf_t, ngx_http_conf_ctx_t,
    ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_module_t, ngx_keyval_t, ngx_module_t,
    ngx_str_t,
};

use super::cf::{ConfExt, Stop, NO_MEMORY};
use crate::buffer_sizes::UserSizes;
use crate::error::Error;
use crate::recipe::{CANNOT_BE_INHERITED, RECIPE};

const PROXY: &CStr = c"ngx_http_proxy_module";
/// The modules whose directives are in the recipe.
const MODULES: &[&CStr] = &[
    PROXY,
    c"ngx_http_core_module",
    c"ngx_http_charset_filter_module",
    c"ngx_http_headers_filter_module",
];
/// Asked for, but never set: nginx checks it against sizes that the recipe sets.
const TEMP_FILE_WRITE_SIZE: &str = "proxy_temp_file_write_size";

/// The configurations of all modules for one block: `http`, a `server` or a `location`.
#[derive(Clone, Copy)]
pub struct Level(NonNull<*mut c_void>);

impl Level {
    /// The block that is parsed or merged now.
    pub fn current(cf: &ngx_conf_t) -> Option<Self> {
        // SAFETY: inside `http {}` nginx keeps an `ngx_http_conf_ctx_t` in `ctx`.
        let ctx = unsafe { cf.ctx.cast::<ngx_http_conf_ctx_t>().as_ref() }?;
        NonNull::new(ctx.loc_conf).map(Self)
    }

    /// The core module's configuration of this block.
    pub fn core(&self) -> &'static mut ngx_http_core_loc_conf_t {
        // SAFETY: every block has a configuration of the core module, which lives as long as the cycle.
        // nginx configures in one thread, and no caller keeps the reference over a call to nginx.
        unsafe { &mut *self.conf(ngx_http_core_module.ctx_index).cast() }
    }

    fn conf(&self, ctx_index: usize) -> *mut c_void {
        // SAFETY: the array has an element for every http module.
        unsafe { *self.0.as_ptr().add(ctx_index) }
    }
}

/// What a slot holds.
type Words = [usize; 2];

/// Directives whose slot has two words: a number and a size, or a text of which the first word is the length.
const TWO_WORDS: &[&str] = &["proxy_buffers", "proxy_set_body", "proxy_ssl_trusted_certificate"];

/// What the user wrote in one block or around it, in the order of [`Stock::directives`].
#[derive(Clone, PartialEq)]
pub struct UserSettings(Vec<Option<Words>>);

impl UserSettings {
    /// What is in force in a block: its own settings, and those of the blocks around it for the rest.
    pub fn within(&self, outer: Option<&Self>) -> Self {
        let outer = outer.map_or(&[][..], |outer| &outer.0);
        let own = self.0.iter().enumerate();
        Self(own.map(|(i, words)| words.or(outer.get(i).copied().flatten())).collect())
    }
}

struct Directive {
    name: &'static str,
    command: NonNull<ngx_command_t>,
    ctx_index: usize,
    /// A configuration of the module that nobody changed: what differs from it was written by the user.
    pristine: *mut c_void,
}

/// The stock directives of the recipe as this nginx has them; those that it lacks are left out.
pub struct Stock {
    directives: Vec<Directive>,
}

impl Stock {
    /// Looks all directives up.
    pub fn find(cf: &mut ngx_conf_t) -> Result<Self, Stop> {
        let mut directives: Vec<Directive> = Vec::new();
        if find_module(cf, PROXY).is_none() {
            return Err(Error::MissingModule("ngx_http_proxy_module").into());
        }
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
        let others =
            CANNOT_BE_INHERITED.iter().copied().chain(["proxy_pass", TEMP_FILE_WRITE_SIZE]);
        for name in recipe.chain(others) {
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

    fn get(&self, name: &str) -> Option<&Directive> {
        self.directives.iter().find(|directive| directive.name == name)
    }

    /// Sets a directive in a block, as if the user had written it there. Nothing happens where this nginx
    /// lacks it, or where a line of the user's that cannot be repeated stands already.
    pub fn set(
        &self,
        cf: &mut ngx_conf_t,
        level: Level,
        name: &'static str,
        arguments: &[&[u8]],
    ) -> Result<(), Stop> {
        let Some(directive) = self.get(name) else { return Ok(()) };
        call(cf, directive.command, level.conf(directive.ctx_index), name, arguments)
    }

    /// What the user wrote in this block itself; asked before the recipe is applied to it.
    pub fn written_in(&self, level: Level) -> UserSettings {
        UserSettings(self.directives.iter().map(|directive| directive.written_in(level)).collect())
    }

    /// Whether the settings hold the directive.
    pub fn is_set(&self, settings: &UserSettings, name: &str) -> bool {
        self.words(settings, name).is_some()
    }

    /// Whether the settings hold the flag directive with `off`.
    pub fn is_off(&self, settings: &UserSettings, name: &str) -> bool {
        self.words(settings, name).is_some_and(|words| words[0] == 0)
    }

    fn words(&self, settings: &UserSettings, name: &str) -> Option<Words> {
        let at = self.directives.iter().position(|directive| directive.name == name)?;
        settings.0.get(at).copied().flatten()
    }

    /// The `proxy_set_header` lines in force.
    pub fn headers(&self, settings: &UserSettings) -> Vec<(String, Vec<u8>)> {
        let Some([array, _]) = self.words(settings, "proxy_set_header") else { return Vec::new() };
        // SAFETY: the slot of this directive, when set, points to an array of `ngx_keyval_t`
        // (ngx_conf_set_keyval_slot), which lives as long as the configuration.
        let pairs = unsafe { (*(array as *const ngx_array_t)).as_slice::<ngx_keyval_t>() };
        let name = |pair: &ngx_keyval_t| String::from_utf8_lossy(pair.key.as_bytes()).into_owned();
        pairs.iter().map(|pair| (name(pair), pair.value.as_bytes().to_vec())).collect()
    }

    /// The sizes that nginx checks against each other.
    pub fn sizes(&self, settings: &UserSettings) -> UserSizes {
        let word = |name| self.words(settings, name).map(|words| words[0]);
        UserSizes {
            buffer_size: word("proxy_buffer_size"),
            buffers: self.words(settings, "proxy_buffers").map(|[number, size]| (number, size)),
            busy_buffers_size: word("proxy_busy_buffers_size"),
            temp_file_write_size: word(TEMP_FILE_WRITE_SIZE),
            max_temp_file_size: word("proxy_max_temp_file_size"),
        }
    }
}

impl Directive {
    fn written_in(&self, level: Level) -> Option<Words> {
        // SAFETY: the command's table entry lives as long as its module. Its offset, where it is not 0, is
        // that of a field of the module's configuration which is at least a word wide and aligned to it; two
        // words are read only where the directive's setter has a field of two.
        unsafe {
            let offset = self.command.as_ref().offset;
            if offset == 0 {
                return None;
            }
            let len = if TWO_WORDS.contains(&self.name) { 2 } else { 1 };
            let field = |conf: *mut c_void| {
                slice::from_raw_parts(conf.byte_add(offset).cast::<usize>(), len)
            };
            let (own, pristine) = (field(level.conf(self.ctx_index)), field(self.pristine));
            (own != pristine).then(|| [own[0], own.get(1).copied().unwrap_or_default()])
        }
    }
}

/// Calls the `set` of a directive with arguments of ours.
fn call(
    cf: &mut ngx_conf_t,
    mut command: NonNull<ngx_command_t>,
    conf: *mut c_void,
    name: &str,
    arguments: &[&[u8]],
) -> Result<(), Stop> {
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
        unsafe { command.as_ref() }.set.ok_or(Error::MissingModule("a directive's setter"))?;
    let saved = cf.args;
    cf.args = args;
    // SAFETY: this is how ngx_conf_handler calls it: the parser state with `args`, the table entry and the
    // configuration of the entry's module for the block.
    let answer = unsafe { set(cf, command.as_mut(), conf) };
    cf.args = saved;
    if answer.is_null() {
        return Ok(());
    }
    // NGX_CONF_ERROR: it has logged already.
    if answer == usize::MAX as *mut c_char {
        return Err(Stop::Logged);
    }
    // SAFETY: any other answer is a zero-terminated phrase.
    let phrase = unsafe { CStr::from_ptr(answer) }.to_string_lossy();
    if phrase == "is duplicate" {
        return Ok(());
    }
    Err(Error::Internal(format!("\"{name}\" directive {phrase}")).into())
}

/// Calls a block directive of a module, such as `upstream`; `cf` has the text between the braces.
pub fn block(
    cf: &mut ngx_conf_t,
    module: &CStr,
    name: &str,
    arguments: &[&[u8]],
) -> Result<(), Stop> {
    let command = find_module(cf, module).and_then(|module| find_command(module, name));
    let command = command.ok_or(Error::MissingModule("ngx_http_upstream_module"))?;
    call(cf, command, std::ptr::null_mut(), name, arguments)
}

/// Whether any module of this nginx has the directive.
pub fn exists(cf: &ngx_conf_t, module: &CStr, name: &str) -> bool {
    find_module(cf, module).and_then(|module| find_command(module, name)).is_some()
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

fn find_command(module: &ngx_module_t, name: &str) -> Option<NonNull<ngx_command_t>> {
    // SAFETY: a module's commands are null or an array that ends with an empty name.
    unsafe {
        let mut next = NonNull::new(module.commands)?;
        while next.as_ref().name.len > 0 {
            if next.as_ref().name.as_bytes() == name.as_bytes() {
                return Some(next);
            }
            next = next.add(1);
        }
    }
    None
}
