//! The filters against log lines as the journal has them.
//!
//! Each folder `tests/filters/FILTER/CASE` holds `journal.log`, `expected` (an address for every
//! line that counts, in order) and, where the jail sets some, the filter's `options`.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use rust_embed::RustEmbed;

use crate::scenario::{Scenario, Stage};
use crate::testbed::{Break, Command, Fault, Service};

#[derive(RustEmbed)]
#[folder = "tests/filters"]
struct Cases;

inventory::submit! {
    Scenario {
        name: "filter-cases",
        proves: "every filter reads the right address from every form of line, and none from others",
        settings: &[],
        needs: &[],
        clients: 0,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            name: "upstream's-filter",
            // The pattern FMD Server's documentation gives.
            breaks: Break::Replace {
                file: "etc/fail2ban/filter.d/fmd-server.conf",
                find: r#"failregex = \A\s*\S+ fmd-server(?:\[\d+\])?: \{"level":"warn","user(?:id)?":<_string>,"remoteIp":"<ADDR>(?::\d{1,5})?","time":<_string>,"message":"<message>"\}\n?\Z"#,
                with: r#"failregex = ^.*"remoteIp":"<ADDR>:?\d*".*"message":"(?:failed|blocked) login attempt".*$"#,
            },
            noticed_as: "fmd-server/foreign-lines",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let node = stage.testbed().service_node(Service::Fail2ban);
    let configuration = Command::new(["fail2ban-client", "-t"]);
    node.run(configuration)
        .await?
        .ok()
        .context("the configuration of fail2ban")?;
    let cases = cases();
    for case in &cases {
        check(stage, case).await.with_context(|| case.clone())?;
    }
    stage.note(format!("{} cases", cases.len()));
    Ok(())
}

/// The folders of all cases, as `FILTER/CASE`.
fn cases() -> BTreeSet<String> {
    Cases::iter()
        .filter_map(|path| Some(path.rsplit_once('/')?.0.to_owned()))
        .collect()
}

async fn check(stage: &Stage, case: &str) -> Result<()> {
    let (name, _) = case
        .split_once('/')
        .context("a case outside a filter's folder")?;
    let options = match Cases::get(&format!("{case}/options")) {
        Some(_) => format!("[{}]", text(case, "options")?.trim()),
        None => String::new(),
    };
    let found = addresses(
        stage,
        &format!("{name}{options}"),
        &text(case, "journal.log")?,
    )
    .await?;
    let expected: Vec<String> = text(case, "expected")?.lines().map(str::to_owned).collect();
    ensure!(found == expected, "found {found:?}, expected {expected:?}");
    Ok(())
}

fn text(case: &str, file: &str) -> Result<String> {
    let file = Cases::get(&format!("{case}/{file}")).with_context(|| format!("no file {file}"))?;
    String::from_utf8(file.data.into_owned()).context("not UTF-8")
}

/// The addresses that `fail2ban-regex` finds with a filter, one for each line that counts.
pub(super) async fn addresses(stage: &Stage, filter: &str, lines: &str) -> Result<Vec<String>> {
    let script = r#"log=$(mktemp); trap 'rm "$log"' EXIT; cat >"$log"
        fail2ban-regex --usedns no --out id "$log" "$1""#;
    let command = Command::shell(script, &[filter]).stdin(lines);
    let output = stage
        .testbed()
        .service_node(Service::Fail2ban)
        .run(command)
        .await?;
    // Its status says whether anything was found; errors are told in words.
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(said.trim().is_empty(), "fail2ban-regex: {said}");
    let text = output.text();
    ensure!(!text.contains("ERROR"), "fail2ban-regex: {text}");
    Ok(text.lines().map(str::to_owned).collect())
}
