//! Passwords: the client sends an Argon2 hash, the server keeps a hash of that.

use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

/// Keeps these hashes apart from any other use of SHA-512.
const CONTEXT: &[u8] = b"fmd-embedded password\0";

/// What is kept of a password. A fast hash will do: the slow one, against
/// guessing, is the client's.
pub fn hash(password: &str) -> Vec<u8> {
    Sha512::new()
        .chain_update(CONTEXT)
        .chain_update(password.as_bytes())
        .finalize()
        .to_vec()
}

/// Whether `password` is the one of which `kept` is left.
pub fn matches(password: &str, kept: &[u8]) -> bool {
    hash(password).ct_eq(kept).into()
}

/// The salt, or where the client sent none, the one inside its Argon2 hash:
/// `$argon2id$v=19$m=…,t=…,p=…$SALT$HASH`.
pub fn salt_or_from_hash(salt: String, password: &str) -> String {
    if !salt.is_empty() {
        return salt;
    }
    let parts: Vec<&str> = password.split('$').collect();
    match parts[..] {
        [_, _, _, _, salt, _] => salt.to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_password_matches() {
        let kept = hash("right");
        assert!(matches("right", &kept));
        assert!(!matches("Right", &kept));
        assert!(!matches("", &kept));
        assert!(!matches("right", &[]));
    }

    #[test]
    fn the_salt_is_taken_from_an_argon2_hash() {
        let hash = "$argon2id$v=19$m=131072,t=1,p=4$c2FsdA$aGFzaA";
        assert_eq!(salt_or_from_hash(String::new(), hash), "c2FsdA");
        assert_eq!(salt_or_from_hash("own".to_owned(), hash), "own");
        assert_eq!(salt_or_from_hash(String::new(), "a$b"), "");
    }
}
