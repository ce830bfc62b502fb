//! The house rules that a compiler does not check: arrows between crates, bans, names, lengths, vectors.
//!
//! Owns: the list of rules, one a file under `tidy/`. A rule reads the tree as text and reports offences, each with
//! its cure; every rule shows on a planted offender that it is not blind. It must never change a file, nor need
//! anything but this checkout.

mod tidy {
    pub mod source;
    pub mod tree;

    mod arrows;
    mod bans;
    mod files;
    mod lint_settings;
    mod machine_paths;
    mod names;
    mod panics;
    mod profiles;
    mod test_list;
    mod toolchain;
    mod unfinished;
    mod unsafety;
}
