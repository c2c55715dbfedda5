//! fail2ban that crashes, and what happens until it works again.

use anyhow::{Result, ensure};

use crate::scenario::{Scenario, Stage};
use crate::stack::{
    JAIL, MAXRETRY, PATIENCE, answered, guess_until_cut, login, prove_banned, wait_in_force,
    while_knocking,
};
use crate::testbed::{Action, Break, Capability, Fault, Service};

inventory::submit! {
    Scenario {
        name: "fail2ban-crash",
        proves: "fail2ban killed and started: bans hold without a gap, failures in between count",
        settings: &[],
        needs: &[Capability::ServiceControl],
        clients: 3,
        run: |stage| Box::pin(run(stage)),
        faults: &[Fault {
            // As fail2ban's own actions do; the pause is what a long list of bans takes to return.
            name: "table-made-anew",
            breaks: Break::Replace {
                file: "etc/fail2ban/action.d/fmd-nft.py",
                find: "self._left = self._found()",
                with: "self._run(self._table_script())\n            time.sleep(0.3)",
            },
            noticed_as: "times while fail2ban",
        }],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let owner = stage.person("owner").await?;
    owner.register("alice").await?;
    owner.register("bob").await?;
    let banned = stage.person("banned").await?;
    guess_until_cut(&banned, MAXRETRY, |_| "alice".to_owned()).await?;
    prove_banned(stage, &banned, JAIL).await?;
    let meanwhile = stage.person("meanwhile").await?;
    let testbed = stage.testbed();
    let restart = async {
        testbed.control(Service::Fail2ban, Action::Kill).await?;
        let guesses = vec![login("bob", "wrong"); MAXRETRY];
        meanwhile.send(meanwhile.requests(guesses)).await?;
        testbed.control(Service::Fail2ban, Action::Start).await?;
        wait_in_force(stage, meanwhile.address(), PATIENCE).await
    };
    let (restarted, knocks) = while_knocking(&banned, restart).await?;
    restarted?;
    let served = answered(&knocks);
    ensure!(
        served == 0,
        "a banned address was answered {served} times while fail2ban was down or starting"
    );
    stage.note(format!(
        "{} requests in the meantime, none answered",
        knocks.len()
    ));
    prove_banned(stage, &banned, JAIL).await?;
    prove_banned(stage, &meanwhile, JAIL).await.map(drop)
}
