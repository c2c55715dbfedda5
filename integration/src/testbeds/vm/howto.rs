//! The how-to for Debian servers as a program: the machine is what its commands make of Debian.

use anyhow::{Result, ensure};

/// `docs/how-to/debian.md`.
const TEXT: &str = include_str!("../../../../docs/how-to/debian.md");

/// The commands of the how-to, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HowTo {
    /// Blocks marked `sh packages`: they need the network and run while the root filesystem is made.
    pub packages: String,
    /// Blocks marked `sh`: they run with `fmd-stack/` and `fmd-server` in the current folder.
    pub commands: String,
}

/// The blocks marked `sh` and this word, which tests run in a machine that is up.
pub fn marked(word: &str) -> String {
    blocks(TEXT, &format!("```sh {word}"))
}

/// Reads the how-to.
pub fn read() -> Result<HowTo> {
    parse(TEXT)
}

fn parse(text: &str) -> Result<HowTo> {
    let how_to = HowTo {
        packages: blocks(text, "```sh packages"),
        commands: blocks(text, "```sh"),
    };
    ensure!(
        !how_to.packages.is_empty(),
        "the how-to has no block marked `sh packages`"
    );
    ensure!(
        !how_to.commands.is_empty(),
        "the how-to has no block marked `sh`"
    );
    Ok(how_to)
}

/// The lines of every block that opens with exactly this fence.
fn blocks(text: &str, fence: &str) -> String {
    let mut lines = text.lines();
    let mut found = String::new();
    while let Some(line) = lines.next() {
        if !line.starts_with("```") {
            continue;
        }
        let block = lines.by_ref().take_while(|line| !line.starts_with("```"));
        let block: String = block.map(|line| format!("{line}\n")).collect();
        if line.trim_end() == fence {
            found.push_str(&block);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_marked_blocks_in_order_and_nothing_else() {
        let text = "a\n```sh packages\napt\n```\n```sh\none\n```\n```console\n# no\n```\nx\n```sh\ntwo\n\nthree\n```\n";
        let how_to = parse(text).unwrap();
        assert_eq!(how_to.packages, "apt\n");
        assert_eq!(how_to.commands, "one\ntwo\n\nthree\n");
    }

    #[test]
    fn the_how_to_installs_and_starts_all_three() {
        let how_to = read().unwrap();
        for package in ["nginx", "fail2ban"] {
            assert!(
                how_to.packages.contains(package),
                "{package} is not installed"
            );
        }
        assert!(
            how_to
                .commands
                .contains("systemctl enable nftables fmd-server fail2ban nginx")
        );
    }
}
