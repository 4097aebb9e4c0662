//! The command line as a user meets it: exit codes, output, files.
mod chat;
mod checkpoint;
mod convert;
mod files;
mod golden;
mod run;
