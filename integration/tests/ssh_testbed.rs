//! The testbed `ssh` against a deployment that the namespaces testbed plays: sshd on a server and on
//! clients, and the suite on an operator's machine of the same segment, which reaches them by ssh.

mod support;

use support::deployment::Deployment;

#[test]
fn bans_hold_and_nothing_is_left() {
    hold(2, &["below-threshold", "brute-force", "ipv6"]);
}

#[test]
fn files_and_locked_accounts_are_put_back() {
    hold(4, &["allow-list", "forged-header", "owner-under-attack"]);
}

#[test]
fn over_https() {
    let deployment = Deployment::start(3);
    deployment.serve_https();
    let before = deployment.state();
    let args = [
        "--url",
        "https://203.0.113.1",
        "--scenario",
        "brute-force",
        "--scenario",
        "bystander",
    ];
    let output = deployment.suite("test", &args);
    assert!(output.status.success(), "{}", support::said(&output));
    assert_eq!(deployment.state(), before, "{}", support::said(&output));
}

fn hold(clients: usize, scenarios: &[&str]) {
    let deployment = Deployment::start(clients);
    let before = deployment.state();
    let args: Vec<&str> = scenarios
        .iter()
        .flat_map(|name| ["--scenario", name])
        .collect();
    let output = deployment.suite("test", &args);
    assert!(output.status.success(), "{}", support::said(&output));
    assert_eq!(deployment.state(), before, "{}", support::said(&output));
}

#[test]
fn what_does_not_fit_is_said_and_not_tried() {
    let deployment = Deployment::start(2);
    let before = deployment.state();
    let output = deployment.suite("test", &["--list"]);
    let said = support::said(&output);
    for (scenario, needs) in [
        ("forged-header", "(needs 3 clients, not 2)"),
        ("doors", "(needs a stack that the run itself starts"),
    ] {
        let told = said.lines().any(|line| {
            line.starts_with("not for ssh: ") && line.contains(scenario) && line.contains(needs)
        });
        assert!(told, "{said}");
    }
    let output = deployment.suite("test", &["--scenario", "forged-header"]);
    let said = support::said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no machine is left to be victim"), "{said}");
    let output = deployment.suite("test", &["--scenario", "brute-force", "--faults"]);
    let said = support::said(&output);
    assert!(
        said.contains("the configuration of a deployment is not changed"),
        "{said}"
    );
    assert_eq!(deployment.state(), before);
}

#[test]
fn does_not_ban_where_it_is_run_from() {
    let deployment = Deployment::start(2);
    let before = deployment.state();
    let refused = |client: &str, whom: &str| {
        let output = deployment.suite_with(&[client], "test", &["--scenario", "brute-force"]);
        let said = support::said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(whom) && said.contains("--yes"), "{said}");
    };
    refused("root@203.0.113.99", "would ban this machine");
    refused("root@203.0.113.1", "would ban the server itself");
    // Another address of the machine's own /64.
    refused(
        "root@203.0.113.10=203.0.113.10,2001:db8:0:63::1",
        "would ban this machine",
    );
    assert_eq!(deployment.state(), before);
    let operator = ["root@203.0.113.99", "root@203.0.113.10"];
    let output = deployment.suite_with(&operator, "test", &["--scenario", "unban", "--yes"]);
    assert!(output.status.success(), "{}", support::said(&output));
    assert_eq!(deployment.state(), before);
}

#[test]
fn ctrl_c_puts_back_what_was_changed() {
    put_back_after("INT");
}

#[test]
fn sigterm_puts_back_what_was_changed() {
    put_back_after("TERM");
}

/// Nobody is left here to put anything back: the machines do it themselves.
#[test]
fn sigkill_puts_back_what_was_changed() {
    put_back_after("KILL");
}

fn put_back_after(signal: &str) {
    let deployment = Deployment::start(3);
    let before = deployment.state();
    deployment.interrupt_under_attack(signal);
    deployment.wait_for_state(&before, signal);
}

#[test]
fn clients_that_share_an_address_are_refused() {
    let deployment = Deployment::start(2);
    let output = deployment.suite_with(
        &["root@203.0.113.10", "root@203.0.113.11=203.0.113.10"],
        "test",
        &["--scenario", "brute-force"],
    );
    let said = support::said(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("share 203.0.113.10/32"), "{said}");
}

#[test]
fn says_which_machine_does_not_answer() {
    let deployment = Deployment::start(2);
    let output = deployment.suite_with(&["nobody@203.0.113.10"], "test", &["--scenario", "unban"]);
    let said = support::said(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("ssh nobody@203.0.113.10") && said.contains("Permission denied"),
        "{said}"
    );
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let refused = |args: &[&str], why: &str| {
        let output = support::run(args);
        let said = support::said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    };
    refused(&["test", "--testbed", "ssh"], "needs --server");
    refused(
        &["test", "--testbed", "ssh", "--server", "root@h"],
        "needs --client",
    );
    refused(
        &["test", "--server", "root@h"],
        "name machines for --testbed ssh",
    );
    refused(
        &["test", "--testbed", "ssh", "--server=-oProxyCommand=id"],
        "ssh would take it for an option",
    );
    let ssh = [
        "test",
        "--testbed",
        "ssh",
        "--server",
        "root@h",
        "--client",
        "root@c",
    ];
    refused(&[&ssh[..], &["--url", "h"]].concat(), "--url h");
    refused(
        &[&ssh[..], &["--fmd-server", "upstream"]].concat(),
        "--fmd-server does not go with",
    );
    refused(
        &[&ssh[..], &["--rendered", "x"]].concat(),
        "--rendered does not go with --testbed ssh",
    );
}
