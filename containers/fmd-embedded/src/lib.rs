//! A small FMD Server for places where upstream's can't be had: API v1 of
//! FMD Server 0.15, answered and logged as upstream does it.
//!
//! `cli` reads the command line and runs the `server`, which hands requests to
//! the `api`; that knows the `store`, who may come in (`access`), and how to
//! wake phones (`push`).

mod access;
mod answer;
mod api;
mod cli;
pub mod config;
mod json;
pub mod log;
mod push;
mod random;
mod route;
mod server;
mod sniff;
mod store;
mod web;

pub use api::UPSTREAM_VERSION;
pub use cli::{BUILD, main};
pub use server::Server;
