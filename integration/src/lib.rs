//! Starts FMD Server, nginx and fail2ban together and proves that bans hold.
//!
//! Dependencies point one way: [`cli`] → [`scenarios`] → [`testbed`] ← [`testbeds`]. Scenarios know
//! no testbed; testbeds know no scenario.

pub mod cli;
pub mod client;
pub mod report;
pub mod rootfs;
pub mod sandbox;
pub mod scenario;
pub mod scenarios;
pub mod stack;
pub mod testbed;
pub mod testbeds;
