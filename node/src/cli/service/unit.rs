//! The text of the systemd user unit. Must never start anything.

use std::path::{Path, PathBuf};

/// The unit's name.
pub const UNIT: &str = "forgemesh.service";
/// How a unit of ours begins; any other is somebody else's.
const MARK: &str = "# Written by `forgemesh service install`";

/// What the unit starts.
pub struct Unit {
    /// The executable, by its absolute path.
    pub program: PathBuf,
    /// The data folder, by its absolute path.
    pub home: PathBuf,
    /// `--threads`, if that was given.
    pub threads: Option<u16>,
    /// MiB of memory beyond which the system ends the node.
    pub memory_mib: Option<u64>,
}

/// A path that no unit can name.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} has characters that a systemd unit cannot hold; move it to a path of printable UTF-8, a program also without quotes and backslashes",
    path.display()
)]
pub struct Unnameable {
    path: PathBuf,
}

/// Was this text written here?
pub fn is_ours(text: &str) -> bool {
    text.starts_with(MARK)
}

impl Unit {
    /// The file. Every hardening option here works without root, without user namespaces, and leaves the node all that it
    /// needs: sockets, threads, its data folder.
    pub fn text(&self) -> Result<String, Unnameable> {
        // systemd starts no program with these in its path, however they are written.
        if self.program.to_string_lossy().contains(['"', '\'', '\\']) {
            return Err(Unnameable { path: self.program.clone() });
        }
        // It puts values in place of variables everywhere but in the program's own path.
        let program = quoted(&self.program)?;
        let home = quoted(&self.home)?.replace('$', "$$");
        let threads = self.threads.map_or(String::new(), |threads| format!(" --threads {threads}"));
        let memory = self.memory_mib.map_or(String::new(), |mib| format!("MemoryMax={mib}M\n"));
        Ok(format!(
            "{MARK}, which may write it again; `forgemesh service uninstall` removes it.\n\
             [Unit]\n\
             Description=Forge Mesh node\n\
             StartLimitIntervalSec=600\n\
             StartLimitBurst=10\n\
             \n\
             [Service]\n\
             Type=exec\n\
             ExecStart={program} --home {home}{threads} up\n\
             # Wrong settings (exit code 2) do not mend themselves.\n\
             Restart=on-failure\n\
             RestartPreventExitStatus=2\n\
             RestartSec=10\n\
             # What was begun is put down within a minute.\n\
             TimeoutStopSec=90\n\
             Nice=10\n\
             IOSchedulingClass=idle\n\
             UMask=0077\n\
             {memory}\
             NoNewPrivileges=yes\n\
             LockPersonality=yes\n\
             RestrictRealtime=yes\n\
             RestrictSUIDSGID=yes\n\
             SystemCallArchitectures=native\n\
             RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n\
             \n\
             [Install]\n\
             WantedBy=default.target\n"
        ))
    }
}

/// A path as one word of a command line: in quotes, with what systemd would read as an escape or a specifier doubled.
fn quoted(path: &Path) -> Result<String, Unnameable> {
    let unnameable = || Unnameable { path: path.to_owned() };
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control)).ok_or_else(unnameable)?;
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%")))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn unit(program: &str, home: &str) -> Unit {
        Unit { program: program.into(), home: home.into(), threads: None, memory_mib: None }
    }

    fn starts(unit: &Unit) -> String {
        let text = unit.text().expect("it can be named");
        text.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("it starts something").to_owned()
    }

    #[test]
    fn paths_are_quoted_as_systemd_reads_them() {
        let plain = unit("/usr/bin/forgemesh", "/home/a/mesh");
        assert_eq!(starts(&plain), r#""/usr/bin/forgemesh" --home "/home/a/mesh" up"#);
        let odd = unit("/opt/a b/$x%h/forgemesh", "/data/100% $HOME \"q\" \\n'");
        let expected = r#""/opt/a b/$x%%h/forgemesh" --home "/data/100%% $$HOME \"q\" \\n'" up"#;
        assert_eq!(starts(&odd), expected);
        for bad in [OsStr::new("/a\nExecStart=/bin/sh"), OsStr::from_bytes(b"/\xff")] {
            let unit = Unit { home: bad.into(), ..unit("/usr/bin/forgemesh", "/") };
            assert!(unit.text().is_err(), "{bad:?}");
        }
        for bad in ["/a\"b/forgemesh", "/a'b/forgemesh", "/a\\b/forgemesh"] {
            assert!(unit(bad, "/h").text().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_capped_is_in_the_unit_and_the_unit_is_known_again() {
        let capped = Unit { threads: Some(3), memory_mib: Some(512), ..unit("/f", "/h") };
        let text = capped.text().expect("it can be named");
        assert!(text.contains("\nMemoryMax=512M\n") && text.contains(" --threads 3 up\n"), "{text}");
        assert!(!unit("/f", "/h").text().expect("it can be named").contains("MemoryMax"));
        assert!(is_ours(&text) && !is_ours("[Unit]\nDescription=another\n") && !is_ours(""));
    }
}
