//! The bodies of requests and answers.

use crate::json::{Body, Field, quote};

/// A body that carries an access token, for historical reasons as `IDT`.
pub trait WithToken {
    fn token(&self) -> &str;
}

/// The body of most requests. In some, `IDT` is an account's name.
#[derive(Default)]
pub struct Package {
    pub token: String,
    pub data: String,
}

impl Body for Package {
    fn field(&mut self, key: &str) -> Option<Field<'_>> {
        match key {
            "IDT" => Some(Field::Text(&mut self.token)),
            "DATA" => Some(Field::Text(&mut self.data)),
            _ => None,
        }
    }
}

impl WithToken for Package {
    fn token(&self) -> &str {
        &self.token
    }
}

#[derive(Default)]
pub struct Login {
    pub name: String,
    /// The client's hash of the password.
    pub password: String,
    pub seconds: u64,
}

impl Body for Login {
    fn field(&mut self, key: &str) -> Option<Field<'_>> {
        match key {
            "IDT" => Some(Field::Text(&mut self.name)),
            "DATA" => Some(Field::Text(&mut self.password)),
            "SESSIONDURATIONSECONDS" => Some(Field::Number(&mut self.seconds)),
            _ => None,
        }
    }
}

#[derive(Default)]
pub struct Registration {
    pub salt: String,
    pub password: String,
    pub public_key: String,
    pub private_key: String,
    pub name: String,
    pub registration_token: String,
}

impl Body for Registration {
    fn field(&mut self, key: &str) -> Option<Field<'_>> {
        Some(Field::Text(match key {
            "SALT" => &mut self.salt,
            "HASHEDPASSWORD" => &mut self.password,
            "PUBKEY" => &mut self.public_key,
            "PRIVKEY" => &mut self.private_key,
            "REQUESTEDUSERNAME" => &mut self.name,
            "REGISTRATIONTOKEN" => &mut self.registration_token,
            _ => return None,
        }))
    }
}

#[derive(Default)]
pub struct NewPassword {
    pub token: String,
    pub salt: String,
    pub password: String,
    pub private_key: String,
}

impl Body for NewPassword {
    fn field(&mut self, key: &str) -> Option<Field<'_>> {
        Some(Field::Text(match key {
            "IDT" => &mut self.token,
            "SALT" => &mut self.salt,
            "HASHEDPASSWORD" => &mut self.password,
            "PRIVKEY" => &mut self.private_key,
            _ => return None,
        }))
    }
}

impl WithToken for NewPassword {
    fn token(&self) -> &str {
        &self.token
    }
}

#[derive(Default)]
pub struct NewCommand {
    pub token: String,
    pub text: String,
    pub time: u64,
    pub signature: String,
}

impl Body for NewCommand {
    fn field(&mut self, key: &str) -> Option<Field<'_>> {
        match key {
            "IDT" => Some(Field::Text(&mut self.token)),
            "DATA" => Some(Field::Text(&mut self.text)),
            "UNIXTIME" => Some(Field::Number(&mut self.time)),
            "CMDSIG" => Some(Field::Text(&mut self.signature)),
            _ => None,
        }
    }
}

impl WithToken for NewCommand {
    fn token(&self) -> &str {
        &self.token
    }
}

/// The answer most clients expect.
pub fn package(idt: &str, data: &str) -> String {
    format!("{{\"IDT\":{},\"Data\":{}}}", quote(idt), quote(data))
}

/// The salt of an account that API v2 is asked for and that speaks v1.
pub fn salt_v2(salt: &str) -> String {
    format!("{{\"protoVersion\":1,\"salt64\":{}}}", quote(salt))
}

/// A location as it is kept and handed out again: without the token it came
/// with, and indented by one space.
pub fn location(data: &str) -> String {
    format!("{{\n \"IDT\": \"\",\n \"Data\": {}\n}}", quote(data))
}

/// A list of strings.
pub fn list(items: &[String]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| quote(item)).collect();
    format!("[{}]", quoted.join(","))
}
