//! Rebuilds the suite when a scenario is added or the overlay tree changes: both are found by
//! macros at compile time, which cargo does not watch by itself.

fn main() {
    println!("cargo:rerun-if-changed=src/scenarios");
    println!("cargo:rerun-if-changed=../containers/rootfs");
}
