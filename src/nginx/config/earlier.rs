//! Lines that answer or change the requests of a location before `clerk_proxy` does.

use crate::configuration_text::Near;
use crate::known_paths::KNOWN;
use crate::neighbour::Neighbour;
use crate::nginx::base::ffi::ngx_conf_t;
use crate::nginx::config::citation;
use crate::nginx::request::proxy::Proxy;
use crate::nginx::stock::first_field::{FirstField, TryFiles};
use crate::nginx::stock::level::{has_expression, Level};
use crate::nginx::stock::rewrite;

/// Whether a location without a `clerk_proxy` line answers requests itself: by a handler, files or a `return`.
pub fn answers_itself(cf: &ngx_conf_t, level: Level) -> bool {
    let core = level.core();
    let lines = rewrite::lines(cf, level);
    core.handler.is_some()
        || !core.root.data.is_null()
        || tries_files(cf, level)
        || lines.iter().any(|line| matches!(line, rewrite::Line::Return))
}

fn tries_files(cf: &ngx_conf_t, level: Level) -> bool {
    TryFiles::of(cf, level).is_some_and(|files| files.0.is_some())
}

/// Warns of lines in a location with `clerk_proxy`.
pub fn warn_of_location(cf: &mut ngx_conf_t, level: Level, proxy: &Proxy) {
    let lines = rewrite::lines(cf, level);
    let returns = lines.iter().find(|line| matches!(line, rewrite::Line::Return));
    let rewrites = lines.iter().find(|line| changed(cf, line, level, proxy).is_some());
    let tries = tries_files(cf, level).then(|| "try_files".to_owned());
    for (what, line, effect) in [
        (returns.map(words), "return", "answers before the Frontend API is asked"),
        (rewrites.map(words), "rewrite", "changes paths, whose prefix is cut off without it"),
        (tries, "try_files", "looks for files before the Frontend API is asked"),
    ] {
        if let Some(what) = what {
            let warning = Neighbour::Beside { line: line.to_owned(), effect };
            citation::warn(cf, proxy.place, Near::Line, (&what, false), &warning);
        }
    }
}

/// Warns of lines in the server around a location.
pub fn warn_of_server(cf: &mut ngx_conf_t, server: Level, level: Level, proxy: &Proxy) {
    for line in rewrite::lines(cf, server) {
        let (directive, path) = match line {
            rewrite::Line::Return => ("return", paths(level, proxy).next()),
            rewrite::Line::Rewrite(_) => ("rewrite", changed(cf, &line, level, proxy)),
        };
        if let Some(path) = path {
            let warning = Neighbour::OfServer { directive, path };
            return citation::warn(cf, proxy.place, Near::Line, (&words(&line), true), &warning);
        }
    }
}

/// The directive, and the argument that identifies it.
fn words(line: &rewrite::Line) -> String {
    match line {
        rewrite::Line::Return => "return".to_owned(),
        rewrite::Line::Rewrite(expression) => format!("rewrite {}", expression.pattern()),
    }
}

/// The first of the paths that a `rewrite` changes.
fn changed(cf: &ngx_conf_t, line: &rewrite::Line, level: Level, proxy: &Proxy) -> Option<String> {
    let rewrite::Line::Rewrite(expression) = line else { return None };
    paths(level, proxy).find(|path| expression.matches(cf, path))
}

/// The paths that clerk-js and Clerk ask the location for.
pub fn paths(level: Level, proxy: &Proxy) -> impl Iterator<Item = String> + '_ {
    let (core, prefix) = (level.core(), String::from_utf8_lossy(&proxy.prefix));
    let by_prefix = core.named() == 0 && !has_expression(core);
    let name = core.name.as_bytes();
    let all = KNOWN.iter().map(move |known| format!("{prefix}{known}"));
    all.filter(move |path| !by_prefix || path.as_bytes().starts_with(name))
}
