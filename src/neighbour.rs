//! Warnings of what stands around a `clerk_proxy` line and works against it.

use std::fmt;

use crate::shown::shown;

/// Something around a `clerk_proxy` line that should be changed.
#[derive(Debug, PartialEq)]
pub enum Neighbour {
    /// A directive that answers 401.
    Unauthorized { directive: &'static str },
    /// A line of the server that takes requests away from the location.
    OfServer { directive: &'static str, path: String },
    /// Another location takes a path; `better` is the name that could have it.
    Taken { by: String, place: String, path: String, better: Option<String> },
    /// Large headers of the server have less room than Clerk's need.
    NarrowHeaders { size: usize },
    /// A line of the location that undoes a part of what `clerk_proxy` is for.
    Beside { line: String, effect: &'static str },
}

impl Neighbour {
    /// The directive and its first argument, if the line beside `clerk_proxy` is known.
    pub fn culprit(&self) -> &str {
        let Self::Beside { line, .. } = self else { return "" };
        line.match_indices(' ').nth(1).map_or(line, |(end, _)| &line[..end])
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unauthorized { directive } => write!(
                f,
                "\"{directive}\" applies to \"clerk_proxy\" and answers 401, which signs users out, \
                 write \"{directive} off\" in this location"
            ),
            Self::OfServer { directive, path } => write!(
                f,
                "\"{directive}\" in the server takes \"{}\" away from \"clerk_proxy\", move it to \"location /\"",
                shown(path)
            ),
            Self::Taken { by, place, path, better } => {
                write!(
                    f,
                    "location \"{by}\" in {place} takes \"{}\" away from \"clerk_proxy\", write ",
                    shown(path)
                )?;
                match better {
                    Some(name) => write!(f, "\"location ^~ {name}\""),
                    None => f.write_str("that location behind this one"),
                }
            }
            Self::NarrowHeaders { size } => write!(
                f,
                "\"large_client_header_buffers\" for \"clerk_proxy\" has room for {size} bytes, and cookies and handshakes \
                 of Clerk can need 16k, write \"large_client_header_buffers 4 16k\""
            ),
            Self::Beside { line, effect } => {
                write!(f, "\"{}\" beside \"clerk_proxy\" {effect}, remove it", shown(line))
            }
        }
    }
}
