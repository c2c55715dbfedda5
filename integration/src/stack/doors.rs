//! The doors at which somebody can guess, what a guess looks like, and the jail that counts it.

use serde_json::json;

use super::{JAIL, MAXRETRY, NGINX_JAIL, TOKEN_JAIL, TOKEN_MAXRETRY, login, on_server};
use crate::client::Request;

/// A registration token for stacks whose registration door is watched.
pub const INVITATION: &str = "an invitation";

/// The setting that makes FMD Server ask for [`INVITATION`].
pub const PRIVATE_REGISTRATION: (&str, &str) = (
    "etc/fmd-server/local.yml",
    "RegistrationToken: an invitation\n",
);

/// A place where an answer tells whether a guess was right.
pub struct Door {
    /// Kebab-case name, also the client node that attacks it.
    pub name: &'static str,
    /// The jail that counts wrong guesses.
    pub jail: &'static str,
    /// Its threshold as shipped.
    pub maxretry: usize,
    /// The wrong guess of this number.
    pub guess: fn(usize) -> Request,
}

/// Every door. Wrong passwords go over the accounts `account0` to `account4`, since FMD Server locks
/// an account after six.
pub const DOORS: &[Door] = &[
    Door {
        name: "wrong-password",
        jail: JAIL,
        maxretry: MAXRETRY,
        guess: |number| login(&format!("account{}", number % 5), "wrong"),
    },
    Door {
        name: "unknown-account",
        jail: NGINX_JAIL,
        maxretry: MAXRETRY,
        guess: |number| login(&format!("nobody{number}"), "wrong"),
    },
    Door {
        name: "unknown-account-by-salt",
        jail: NGINX_JAIL,
        maxretry: MAXRETRY,
        guess: |number| {
            Request::new("PUT", "/api/v1/salt").json(&json!({ "IDT": format!("nobody{number}") }))
        },
    },
    Door {
        name: "unknown-account-by-salt-over-lines",
        jail: NGINX_JAIL,
        maxretry: MAXRETRY,
        guess: |number| Request {
            body: Some(format!("{{\n\"IDT\":\"nobody{number}\"}}")),
            ..Request::new("PUT", "/api/v1/salt")
        },
    },
    Door {
        name: "unknown-account-by-head-of-salt",
        jail: NGINX_JAIL,
        maxretry: MAXRETRY,
        // Its Content-Length tells what its body would.
        guess: |number| {
            Request::new("HEAD", "/api/v1/salt").json(&json!({ "IDT": format!("nobody{number}") }))
        },
    },
    Door {
        name: "unknown-account-by-salt-v2",
        jail: NGINX_JAIL,
        maxretry: MAXRETRY,
        // As fmd-api 3 asks before each login.
        guess: |number| Request::new("GET", &format!("/api/v2/account/nobody{number}/salt")),
    },
    Door {
        name: "login-below-its-path",
        jail: NGINX_JAIL,
        maxretry: MAXRETRY,
        guess: |number| Request {
            path: format!("/requestAccess/{number}.js"),
            ..login(&format!("nobody{number}"), "wrong")
        },
    },
    Door {
        name: "malformed-login",
        jail: NGINX_JAIL,
        maxretry: MAXRETRY,
        guess: |number| login(&format!("no such {number}\""), "wrong"),
    },
    Door {
        name: "registration-token",
        jail: NGINX_JAIL,
        maxretry: MAXRETRY,
        guess: |number| {
            let body =
                json!({ "RegistrationToken": format!("guess {number}"), "HashedPassword": "x" });
            Request::new("PUT", "/api/v1/device").json(&body)
        },
    },
    Door {
        name: "taken-name",
        jail: NGINX_JAIL,
        maxretry: MAXRETRY,
        guess: |number| {
            let name = on_server(&format!("account{}", number % 5));
            let body = json!({
                "RegistrationToken": INVITATION,
                "RequestedUsername": name,
                "HashedPassword": "x",
            });
            Request::new("PUT", "/api/v1/device").json(&body)
        },
    },
    Door {
        name: "login-of-api-v2",
        jail: NGINX_JAIL,
        maxretry: MAXRETRY,
        guess: |number| {
            let body = json!({ "username": format!("nobody{number}"), "passwordHash64": "x" });
            Request::new("POST", "/api/v2/account/login").json(&body)
        },
    },
    Door {
        name: "unknown-accounts-at-doors-in-turn",
        jail: NGINX_JAIL,
        maxretry: MAXRETRY,
        guess: |number| {
            let doors: Vec<_> = DOORS
                .iter()
                .filter(|door| door.name.starts_with("unknown-account-"))
                .collect();
            (doors[number % doors.len()].guess)(number)
        },
    },
    Door {
        name: "access-token",
        jail: TOKEN_JAIL,
        maxretry: TOKEN_MAXRETRY,
        guess: |number| {
            let body = json!({ "IDT": format!("guess{number}"), "Data": "0" });
            Request::new("PUT", "/api/v1/location").json(&body)
        },
    },
];
