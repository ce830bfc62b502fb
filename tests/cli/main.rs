//! The command line as a person meets it: whole processes, real folders, exit codes, files. Must never reach into a
//! running node; what a library call checks here is a file that a process wrote.

use forgemesh_tests::node;

mod artifact_files;
mod artifacts;
mod cancel;
mod control;
mod convergence;
mod data_folder;
mod doctor;
mod draws;
mod failed_job;
mod flips;
mod foreign_receipts;
mod full_disk;
mod hostile_bundles;
mod inspect;
mod malformed;
mod malformed_table;
mod mesh_of_one;
mod provider;
mod readme;
mod replay;
mod run;
mod service;
mod settings;
mod tickets;
