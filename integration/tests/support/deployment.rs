//! A deployment to reach by ssh, played by the namespaces testbed: `demo --keep` leaves it up.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fmd_stack::sandbox::ADD_NODE;

use super::suite;

/// Where the suite stands on every node of the testbed.
const SUITE: &str = "/usr/lib/fmd-stack/fmd-stack";

/// Makes a key that opens every node, and says how ssh finds its way: nobody else is on the segment,
/// so host keys are taken as they come.
const KEYS: &str = r#"
mkdir -p -m 700 /root/.ssh /run/sshd
ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys
[ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
printf '%s\n' 'UsePAM no' 'PermitRootLogin prohibit-password' 'PasswordAuthentication no' 'MaxStartups 100' \
  'HostKey /etc/ssh/ssh_host_ed25519_key' >/etc/ssh/sshd_test
printf '%s\n' 'StrictHostKeyChecking no' 'UserKnownHostsFile /dev/null' >/root/.ssh/config
"#;

/// Has nginx serve HTTPS as well, with a certificate that nobody has signed. Its key is no secret.
const HTTPS: &str = concat!(
    "mkdir -p /etc/fmd-stack/tls\ncat >/etc/fmd-stack/tls/fullchain.pem <<'END'\n",
    include_str!("https/fullchain.pem"),
    "END\ncat >/etc/fmd-stack/tls/privkey.pem <<'END'\n",
    include_str!("https/privkey.pem"),
    "END\nln -s /etc/nginx/fmd-stack/tls.conf /run/fmd-stack/nginx/tls.conf\nnginx -s reload\n"
);

const SSHD: &str = "/usr/sbin/sshd -f /etc/ssh/sshd_test -o PidFile=none";

/// Everything that a run must leave as it was: accounts, bans, files, addresses, services.
const STATE: &str = r#"
journalctl --quiet --no-pager --identifier fmd-server --output cat | python3 -c '
import json, sys
accounts = set()
for line in sys.stdin:
    event = json.loads(line)
    if event["message"] == "registering new user": accounts.add(event["userid"])
    if event["message"] == "deleting user": accounts.discard(event["userid"])
print("accounts", sorted(accounts))
'
for jail in $(fail2ban-client status | sed -n 's/.*Jail list://p' | tr -d ','); do
  fail2ban-client status "$jail" | grep -E 'Banned IP list|Currently failed' | sed "s/^/$jail /"
done
nft list ruleset | grep elements || true
find /tmp /var/tmp /run /root -maxdepth 1 -name 'fmd-stack.*'
find /etc/fmd-stack /etc/fmd-server /etc/fail2ban -type f -newer /etc/ssh/sshd_test | sort
md5sum /etc/fmd-stack/allow-list
pgrep --list-full --full '[f]md-stack client' || true
for node in /run/netns/*; do
  echo "${node##*/}" $(nsenter --net="$node" ip -o address show dev eth0 scope global | awk '{ print $4 }')
done
"#;

/// A stack that runs, with sshd on its server and on clients.
pub struct Deployment {
    demo: Child,
    clients: usize,
    /// Words that enter the testbed's namespaces, but for the network.
    enter: Vec<String>,
    init: String,
}

impl Deployment {
    /// Starts one with this many clients, 203.0.113.10 and up, and an operator at 203.0.113.99.
    pub fn start(clients: usize) -> Self {
        let mut demo = suite(&["demo", "--keep"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo starts");
        let lines = BufReader::new(demo.stdout.take().expect("a pipe")).lines();
        let mut shell = None;
        for line in lines.map(|line| line.expect("UTF-8")) {
            if line.trim_start().starts_with("nsenter ") {
                shell.get_or_insert(line.trim().to_owned());
            }
            if line.starts_with("Ctrl-C") {
                break;
            }
        }
        let shell = shell.expect("the demo says how to enter the server");
        let words: Vec<String> = shell.split(' ').map(str::to_owned).collect();
        let net = words
            .iter()
            .position(|word| word.starts_with("--net="))
            .expect("a network");
        let init = words[words
            .iter()
            .position(|word| word == "--target")
            .expect("a target")
            + 1]
        .clone();
        let deployment = Self {
            demo,
            clients,
            enter: words[..net].to_vec(),
            init,
        };
        deployment.open_to_ssh();
        deployment
    }

    fn open_to_ssh(&self) {
        self.must("server", KEYS);
        // The demo's own clients are the first two.
        for number in (12..10 + self.clients).chain([99]) {
            let name = if number == 99 {
                "operator".to_owned()
            } else {
                client(number - 10)
            };
            let v4 = format!("203.0.113.{number}");
            let v6 = format!("2001:db8:0:{number:x}::{number:x}");
            let words = [
                "sh",
                "-euc",
                ADD_NODE,
                "sh",
                &name,
                &number.to_string(),
                &v4,
                &v6,
            ];
            let output = self.on("segment", &words).output().expect("nsenter starts");
            assert!(output.status.success(), "{}", super::said(&output));
        }
        let nodes = (0..self.clients).map(client);
        for node in nodes.chain(["server".to_owned(), "operator".to_owned()]) {
            self.must(&node, SSHD);
        }
    }

    /// A command on a node.
    fn on(&self, node: &str, words: &[&str]) -> Command {
        let net = match node {
            "segment" => format!("--net=/proc/{}/ns/net", self.init),
            node => format!("--net=/proc/{}/root/run/netns/{node}", self.init),
        };
        let mut command = Command::new(&self.enter[0]);
        command.args(&self.enter[1..]).arg(net).args(["env", "-i"]);
        command.args([
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "LANG=C.UTF-8",
        ]);
        command.args(words);
        command
    }

    fn must(&self, node: &str, script: &str) -> String {
        let output = self
            .on(node, &["sh", "-euc", script])
            .output()
            .expect("nsenter starts");
        assert!(output.status.success(), "{node}: {}", super::said(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Runs the suite on the operator's machine, with all clients.
    pub fn suite(&self, command: &str, args: &[&str]) -> Output {
        self.command(command, args)
            .output()
            .expect("nsenter starts")
    }

    /// The same with these clients.
    pub fn suite_with(&self, clients: &[&str], command: &str, args: &[&str]) -> Output {
        let clients: Vec<String> = clients.iter().map(|&client| client.to_owned()).collect();
        self.words(&clients, command, args)
            .output()
            .expect("nsenter starts")
    }

    fn command(&self, command: &str, args: &[&str]) -> Command {
        let all: Vec<String> = (0..self.clients)
            .map(|number| format!("root@203.0.113.{}", 10 + number))
            .collect();
        self.words(&all, command, args)
    }

    fn words(&self, clients: &[String], command: &str, args: &[&str]) -> Command {
        let mut words = vec![
            SUITE,
            command,
            "--testbed",
            "ssh",
            "--server",
            "root@203.0.113.1",
        ];
        for client in clients {
            words.extend(["--client", client]);
        }
        words.extend(args);
        self.on("operator", &words)
    }

    /// From now on its nginx serves HTTPS too.
    pub fn serve_https(&self) {
        self.must("server", HTTPS);
    }

    /// What a run must leave as it was.
    pub fn state(&self) -> String {
        self.must("server", STATE)
    }

    /// Ends a run by a signal while a ban stands and an account is there.
    pub fn interrupt_under_attack(&self, signal: &str) {
        let mut run = self
            .command("test", &["--scenario", "allow-list"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nsenter starts");
        let banned = r#"fail2ban-client status fmd-server | grep -q 'Currently banned:.*1'"#;
        let looks = || {
            self.on("server", &["sh", "-c", banned])
                .status()
                .expect("nsenter starts")
                .success()
        };
        until("a ban", looks);
        // nsenter itself is not what is meant; the suite is the oldest that was given these words.
        let kill =
            format!("pkill --oldest --signal {signal} --full -- 'fmd-stack test --testbed ssh'");
        self.must("server", &kill);
        let started = Instant::now();
        run.wait().expect("the run ends");
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{signal}: the run took a minute to end"
        );
    }

    /// Waits until all is as it was.
    pub fn wait_for_state(&self, before: &str, after: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let now = self.state();
            if now == before {
                return;
            }
            assert!(
                Instant::now() < end,
                "30 s after {after}:\n{now}\nand before:\n{before}"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        let _ = Command::new("kill")
            .args(["-INT", &self.demo.id().to_string()])
            .status();
        let _ = self.demo.wait();
        let _ = std::io::stdout().flush();
    }
}

/// The name of client `number`; the demo has made the first two.
fn client(number: usize) -> String {
    match number {
        0 => "attacker".to_owned(),
        1 => "bystander".to_owned(),
        number => format!("client{number}"),
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within 60 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}
