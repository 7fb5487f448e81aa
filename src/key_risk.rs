//! What is risky about a key that can be used: whose it is, and who else can read or change it.

use std::fmt;

use crate::shown::shown;

/// Who can do more than they should.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Others {
    /// Every user of the machine.
    All,
    /// The members of a file's group.
    Group,
}

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "every user of this machine",
            Self::Group => "every member of a group",
        })
    }
}

/// What is risky about a key that can be used.
#[derive(Debug, PartialEq)]
pub enum KeyRisk {
    /// It belongs to a development instance.
    Development,
    /// Every user can read the file with this path.
    ReadableFile(String),
    /// Others can write to the file with this path.
    WritableFile(String, Others),
    /// Others can put another file in place of it, in this folder.
    WritableFolder(String, Others),
    /// Every user can read the configuration file that it stands in.
    ReadableConfiguration,
}

impl fmt::Display for KeyRisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Development => f.write_str(
                "belongs to a development instance, which Clerk does not proxy, write the key that begins \
                 with \"sk_live_\"",
            ),
            Self::ReadableFile(path) => write!(
                f,
                "can be read by every user of this machine, run \"chmod 600 {}\"",
                shown(path)
            ),
            Self::WritableFile(path, others) => {
                write!(f, "can be changed by {others}, run \"chmod 600 {}\"", shown(path))
            }
            Self::WritableFolder(folder, others) => write!(
                f,
                "can be replaced by {others}, run \"chmod {}-w {}\"",
                match others {
                    Others::All => "o",
                    Others::Group => "g",
                },
                shown(folder)
            ),
            Self::ReadableConfiguration => f.write_str(
                "is in a file that every user of this machine can read, put the key into a file of mode 600 \
                 and write \"file:PATH\"",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_do_what_and_what_to_do() {
        for (risk, text) in [
            (
                KeyRisk::WritableFile("/k".into(), Others::Group),
                "changed by every member of a group, run \"chmod 600 /k\"",
            ),
            (
                KeyRisk::WritableFolder("/d".into(), Others::Group),
                "replaced by every member of a group, run \"chmod g-w /d\"",
            ),
            (
                KeyRisk::WritableFolder("/d".into(), Others::All),
                "replaced by every user of this machine, run \"chmod o-w /d\"",
            ),
        ] {
            assert_eq!(risk.to_string(), format!("can be {text}"));
        }
    }
}
