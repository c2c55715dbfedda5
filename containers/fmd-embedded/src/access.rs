//! Who may come in: locks after failed logins, and access tokens.
//!
//! Both live in memory only, as upstream: a restart lifts every lock and ends
//! every session. Both are bounded: whoever floods the server with logins can
//! push out entries (those that end soonest first) but not fill the memory.
//!
//! Times are seconds of a clock that never goes back, handed in by the caller.

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::random;

/// Failures an account may have before it is locked: the sixth locks.
/// (Upstream 0.15: attempts 1 to 6 are answered 403, the seventh 423.)
const ALLOWED_FAILURES: u32 = 5;
/// How long a lock lasts after the last counted failure.
const LOCK_SECONDS: u64 = 10 * 60;
/// How long a token lasts when the client doesn't say.
const DEFAULT_SESSION_SECONDS: u64 = 15 * 60;
/// The longest a client may ask for.
const MAX_SESSION_SECONDS: u64 = 7 * 24 * 60 * 60;
/// Letters of a token; upstream's length.
const TOKEN_LENGTH: usize = 32;

/// Accounts with failures kept at once.
const MAX_LOCKS: usize = 65_536;
/// Sessions kept at once, all accounts together.
const MAX_SESSIONS: usize = 65_536;
/// Sessions kept at once of one account, so that one account can't push the
/// others' sessions out.
const MAX_SESSIONS_PER_ACCOUNT: usize = 1_024;

/// An account's row id in the database.
pub type AccountId = i64;

/// Failed logins per account.
#[derive(Default)]
pub struct Locks {
    entries: HashMap<AccountId, Failures>,
    by_end: BTreeSet<(u64, AccountId)>,
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    ends: u64,
}

impl Locks {
    /// Whether logins to the account are refused at `now`.
    pub fn is_locked(&self, account: AccountId, now: u64) -> bool {
        self.entries
            .get(&account)
            .is_some_and(|failures| failures.count > ALLOWED_FAILURES && failures.ends >= now)
    }

    /// Counts a failed login. The ten minutes start anew with each.
    pub fn count_failure(&mut self, account: AccountId, now: u64) {
        self.remove_ended(now);
        let count = self.remove(account).map_or(0, |failures| failures.count);
        if self.entries.len() >= MAX_LOCKS {
            self.remove_first();
        }
        let ends = now + LOCK_SECONDS;
        let count = count.saturating_add(1);
        self.entries.insert(account, Failures { count, ends });
        self.by_end.insert((ends, account));
    }

    /// Forgets the account's failures.
    pub fn reset(&mut self, account: AccountId) {
        self.remove(account);
    }

    fn remove(&mut self, account: AccountId) -> Option<Failures> {
        let failures = self.entries.remove(&account)?;
        self.by_end.remove(&(failures.ends, account));
        Some(failures)
    }

    fn remove_ended(&mut self, now: u64) {
        while self.by_end.first().is_some_and(|(ends, _)| *ends < now) {
            self.remove_first();
        }
    }

    fn remove_first(&mut self) {
        if let Some((_, account)) = self.by_end.pop_first() {
            self.entries.remove(&account);
        }
    }
}

/// What a token is kept as. A table keyed by the token itself would tell, by
/// its timing, how much of a guess was right.
type TokenHash = [u8; 32];

/// Access tokens handed out.
#[derive(Default)]
pub struct Sessions {
    entries: HashMap<TokenHash, Session>,
    by_end: BTreeSet<(u64, TokenHash)>,
    by_account: BTreeSet<(AccountId, u64, TokenHash)>,
}

#[derive(Clone, Copy)]
struct Session {
    account: AccountId,
    ends: u64,
}

impl Sessions {
    /// A new token for the account; 0 seconds means the default duration.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn open(
        &mut self,
        account: AccountId,
        seconds: u64,
        now: u64,
    ) -> Result<String, getrandom::Error> {
        let token = random::letters(TOKEN_LENGTH)?;
        let duration = match seconds {
            0 => DEFAULT_SESSION_SECONDS,
            asked => asked.min(MAX_SESSION_SECONDS),
        };
        self.make_room(account, now);
        let session = Session {
            account,
            ends: now + duration,
        };
        let hash = hash(&token);
        self.by_end.insert((session.ends, hash));
        self.by_account.insert((account, session.ends, hash));
        self.entries.insert(hash, session);
        Ok(token)
    }

    /// The account a token was given to, while it lasts.
    pub fn account(&self, token: &str, now: u64) -> Option<AccountId> {
        let wanted = hash(token);
        let (found, session) = self.entries.get_key_value(&wanted)?;
        let same: bool = found.ct_eq(&wanted).into();
        (same && session.ends >= now).then_some(session.account)
    }

    /// Ends every session of the account.
    pub fn revoke(&mut self, account: AccountId) {
        while let Some(hash) = self.first_of(account) {
            self.remove(&hash);
        }
    }

    fn make_room(&mut self, account: AccountId, now: u64) {
        while let Some((ends, hash)) = self.by_end.first().copied() {
            if ends >= now && self.entries.len() < MAX_SESSIONS {
                break;
            }
            self.remove(&hash);
        }
        if self.of(account).count() >= MAX_SESSIONS_PER_ACCOUNT
            && let Some(hash) = self.first_of(account)
        {
            self.remove(&hash);
        }
    }

    fn of(&self, account: AccountId) -> impl Iterator<Item = &(AccountId, u64, TokenHash)> {
        self.by_account
            .range((account, 0, [0; 32])..=(account, u64::MAX, [u8::MAX; 32]))
    }

    fn first_of(&self, account: AccountId) -> Option<TokenHash> {
        self.of(account).next().map(|(_, _, hash)| *hash)
    }

    fn remove(&mut self, hash: &TokenHash) {
        if let Some(session) = self.entries.remove(hash) {
            self.by_end.remove(&(session.ends, *hash));
            self.by_account
                .remove(&(session.account, session.ends, *hash));
        }
    }
}

fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_failure_locks_for_ten_minutes() {
        let mut locks = Locks::default();
        for second in 0..6 {
            assert!(!locks.is_locked(1, second));
            locks.count_failure(1, second);
        }
        assert!(locks.is_locked(1, 5));
        assert!(locks.is_locked(1, 605));
        assert!(!locks.is_locked(1, 606));
        assert!(!locks.is_locked(2, 5));
    }

    #[test]
    fn a_failure_after_the_lock_ended_is_the_first_again() {
        let mut locks = Locks::default();
        for _ in 0..6 {
            locks.count_failure(1, 0);
        }
        locks.count_failure(1, 601);
        assert!(!locks.is_locked(1, 601));
        for _ in 0..5 {
            locks.count_failure(1, 601);
        }
        assert!(locks.is_locked(1, 601));
    }

    #[test]
    fn a_right_password_resets_the_count() {
        let mut locks = Locks::default();
        for _ in 0..6 {
            locks.count_failure(1, 0);
        }
        locks.reset(1);
        assert!(!locks.is_locked(1, 0));
    }

    #[test]
    fn a_flood_of_accounts_is_bounded() {
        let mut locks = Locks::default();
        for account in 0..200_000 {
            locks.count_failure(account, 7);
        }
        assert_eq!(locks.entries.len(), MAX_LOCKS);
        assert_eq!(locks.by_end.len(), MAX_LOCKS);
    }

    #[test]
    fn sessions_end_after_their_duration() {
        let mut sessions = Sessions::default();
        let short = sessions.open(1, 60, 0).unwrap();
        let default = sessions.open(1, 0, 0).unwrap();
        let longest = sessions.open(1, u64::MAX, 0).unwrap();
        assert_eq!(sessions.account(&short, 60), Some(1));
        assert_eq!(sessions.account(&short, 61), None);
        assert_eq!(sessions.account(&default, 900), Some(1));
        assert_eq!(sessions.account(&default, 901), None);
        assert_eq!(sessions.account(&longest, 604_800), Some(1));
        assert_eq!(sessions.account(&longest, 604_801), None);
    }

    #[test]
    fn revoking_ends_the_sessions_of_one_account() {
        let mut sessions = Sessions::default();
        let mine = sessions.open(1, 0, 0).unwrap();
        let other = sessions.open(2, 0, 0).unwrap();
        sessions.revoke(1);
        assert_eq!(sessions.account(&mine, 0), None);
        assert_eq!(sessions.account(&other, 0), Some(2));
    }

    #[test]
    fn a_flood_of_sessions_is_bounded_and_spares_other_accounts() {
        let mut sessions = Sessions::default();
        let other = sessions.open(2, 0, 0).unwrap();
        for _ in 0..10_000 {
            sessions.open(1, 0, 0).unwrap();
        }
        assert_eq!(sessions.account(&other, 0), Some(2));
        assert_eq!(sessions.entries.len(), MAX_SESSIONS_PER_ACCOUNT + 1);
        for account in 10..70_000 {
            sessions.open(account, 0, 0).unwrap();
        }
        assert_eq!(sessions.entries.len(), MAX_SESSIONS);
        assert_eq!(sessions.by_end.len(), MAX_SESSIONS);
        assert_eq!(sessions.by_account.len(), MAX_SESSIONS);
    }
}
