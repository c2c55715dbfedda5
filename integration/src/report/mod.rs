//! Reports: a table for people, JUnit and JSON for machines.

mod files;
mod text;

pub use files::{write_json, write_junit, write_list};
pub use text::{line, list, table};
