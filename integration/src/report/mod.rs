//! Reports: a table for people, JUnit and JSON for machines.

mod files;
mod out;
mod text;

pub use files::{write_json, write_junit, write_list};
pub use out::{out, say};
pub use text::{line, list, table};
