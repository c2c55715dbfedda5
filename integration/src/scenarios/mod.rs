//! The scenarios, one file each.
//!
//! A new file in this folder that submits a [`crate::scenario::Scenario`] is listed, run and tested
//! together with its faults; it need not be named anywhere else.

automod::dir!("src/scenarios");
