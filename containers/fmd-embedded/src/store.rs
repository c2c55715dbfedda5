//! The database: SQLite with a write-ahead log.
//!
//! Every method returns once its change is on disk, so nothing that was
//! answered is lost, whatever kills the process. What is deleted is overwritten.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use crate::access::AccountId;

/// Not upstream's name: the tables differ, and neither server must take the
/// other's database for its own.
const FILE: &str = "fmd-embedded.sqlite";

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS accounts (
        -- AUTOINCREMENT: the id of a deleted account is never given out again.
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        salt TEXT NOT NULL,
        password_hash BLOB NOT NULL,
        private_key TEXT NOT NULL,
        public_key TEXT NOT NULL,
        command TEXT NOT NULL DEFAULT '',
        command_time INTEGER NOT NULL DEFAULT 0,
        command_signature TEXT NOT NULL DEFAULT '',
        push_url TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE TABLE IF NOT EXISTS locations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        account INTEGER NOT NULL REFERENCES accounts ON DELETE CASCADE,
        content TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS locations_by_account ON locations (account, id);
    CREATE TABLE IF NOT EXISTS pictures (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        account INTEGER NOT NULL REFERENCES accounts ON DELETE CASCADE,
        content TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS pictures_by_account ON pictures (account, id);
";

/// What a device uploads and its owner fetches, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Items {
    Locations,
    Pictures,
}

impl Items {
    fn table(self) -> &'static str {
        match self {
            Items::Locations => "locations",
            Items::Pictures => "pictures",
        }
    }
}

/// An account as the login and the keys need it.
#[derive(Clone, Debug)]
pub struct Account {
    pub id: AccountId,
    pub name: String,
    pub salt: String,
    pub password_hash: Vec<u8>,
    pub private_key: String,
    pub public_key: String,
    pub push_url: String,
    pub command: Command,
}

/// What a client sets at registration; the first three again with a password.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    pub salt: String,
    pub password_hash: Vec<u8>,
    pub private_key: String,
}

/// What the owner wants the phone to do; empty for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    pub text: String,
    /// Milliseconds since 1970, set by the client.
    pub time: u64,
    pub signature: String,
}

/// The open database.
pub struct Store {
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens the database in `dir`, making both if they aren't there. Nobody
    /// but the owner and, if it already had the right, the group can read it.
    ///
    /// # Errors
    /// When the directory or the database can't be made or opened.
    pub fn open(dir: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(dir)
            .with_context(|| format!("{}: cannot make the database directory", dir.display()))?;
        let file = dir.join(FILE);
        let connection = protect(&file)
            .and_then(|()| prepare(&file))
            .with_context(|| format!("{}: cannot open the database", file.display()))?;
        Ok(Store {
            connection: Mutex::new(connection),
        })
    }

    /// Makes an account, unless the name is taken: then `None`.
    ///
    /// # Errors
    /// When the database can't be written.
    pub fn create(
        &self,
        name: &str,
        credentials: &Credentials,
        public_key: &str,
    ) -> Result<Option<AccountId>> {
        let id = self
            .connection()
            .prepare_cached(
                "INSERT INTO accounts (name, salt, password_hash, private_key, public_key)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (name) DO NOTHING RETURNING id",
            )?
            .query_row(
                params![
                    name,
                    credentials.salt,
                    credentials.password_hash,
                    credentials.private_key,
                    public_key
                ],
                |row| row.get(0),
            )
            .optional()?;
        Ok(id)
    }

    /// The account of a name.
    pub fn by_name(&self, name: &str) -> Result<Option<Account>> {
        self.account("SELECT * FROM accounts WHERE name = ?1", name)
    }

    /// The account of an id.
    pub fn by_id(&self, id: AccountId) -> Result<Option<Account>> {
        self.account("SELECT * FROM accounts WHERE id = ?1", id)
    }

    fn account(&self, query: &str, key: impl rusqlite::ToSql) -> Result<Option<Account>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(query)?;
        Ok(statement.query_row([key], read_account).optional()?)
    }

    /// Replaces password and private key.
    pub fn set_credentials(&self, id: AccountId, credentials: &Credentials) -> Result<()> {
        self.connection()
            .prepare_cached(
                "UPDATE accounts SET salt = ?2, password_hash = ?3, private_key = ?4 WHERE id = ?1",
            )?
            .execute(params![
                id,
                credentials.salt,
                credentials.password_hash,
                credentials.private_key
            ])?;
        Ok(())
    }

    /// Replaces the push URL; empty for none.
    pub fn set_push_url(&self, id: AccountId, url: &str) -> Result<()> {
        self.connection()
            .prepare_cached("UPDATE accounts SET push_url = ?2 WHERE id = ?1")?
            .execute(params![id, url])?;
        Ok(())
    }

    /// Replaces the pending command.
    pub fn set_command(&self, id: AccountId, command: &Command) -> Result<()> {
        write_command(&self.connection(), id, command)
    }

    /// The pending command, which is pending no more.
    pub fn take_command(&self, id: AccountId) -> Result<Command> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let command = transaction
            .prepare_cached("SELECT * FROM accounts WHERE id = ?1")?
            .query_row([id], read_account)
            .optional()?
            .map(|account| account.command)
            .unwrap_or_default();
        if command != Command::default() {
            write_command(&transaction, id, &Command::default())?;
        }
        transaction.commit()?;
        Ok(command)
    }

    /// Deletes the account and everything of it, from the log of writes, too.
    pub fn delete(&self, id: AccountId) -> Result<()> {
        let connection = self.connection();
        connection.execute("DELETE FROM accounts WHERE id = ?1", [id])?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    /// Appends an item and deletes the oldest ones beyond `keep`.
    pub fn add(&self, items: Items, id: AccountId, content: &str, keep: u32) -> Result<()> {
        let table = items.table();
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction
            .prepare_cached(&format!(
                "INSERT INTO {table} (account, content) VALUES (?1, ?2)"
            ))?
            .execute(params![id, content])?;
        transaction
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE account = ?1 AND id NOT IN
                 (SELECT id FROM {table} WHERE account = ?1 ORDER BY id DESC LIMIT ?2)"
            ))?
            .execute(params![id, keep])?;
        transaction.commit()?;
        Ok(())
    }

    /// How many items the account has.
    pub fn count(&self, items: Items, id: AccountId) -> Result<i64> {
        let query = format!("SELECT count(*) FROM {} WHERE account = ?1", items.table());
        let connection = self.connection();
        let mut statement = connection.prepare_cached(&query)?;
        Ok(statement.query_row([id], |row| row.get(0))?)
    }

    /// The item at `index`, the oldest being 0.
    pub fn item(&self, items: Items, id: AccountId, index: i64) -> Result<Option<String>> {
        let query = format!(
            "SELECT content FROM {} WHERE account = ?1 ORDER BY id LIMIT 1 OFFSET ?2",
            items.table()
        );
        let connection = self.connection();
        let mut statement = connection.prepare_cached(&query)?;
        let item = statement.query_row(params![id, index], |row| row.get(0));
        Ok(item.optional()?)
    }

    /// All items of the account.
    pub fn all(&self, items: Items, id: AccountId) -> Result<Vec<String>> {
        let query = format!(
            "SELECT content FROM {} WHERE account = ?1 ORDER BY id",
            items.table()
        );
        let connection = self.connection();
        let mut statement = connection.prepare_cached(&query)?;
        let rows = statement.query_map([id], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Deletes all items of the account.
    pub fn clear(&self, items: Items, id: AccountId) -> Result<()> {
        let query = format!("DELETE FROM {} WHERE account = ?1", items.table());
        self.connection().execute(&query, [id])?;
        Ok(())
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere left no half-done work: transactions roll back.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the file before SQLite does, which would leave its mode to the umask.
/// The `-wal` and `-shm` files take the mode of this one.
fn protect(file: &Path) -> Result<()> {
    let made = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(file)?;
    let mode = made.metadata()?.permissions().mode();
    if mode & 0o777 & !0o640 != 0 {
        made.set_permissions(Permissions::from_mode(mode & 0o640))?;
    }
    Ok(())
}

fn prepare(file: &Path) -> Result<Connection> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.pragma_update(None, "secure_delete", "ON")?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

fn read_account(row: &Row) -> rusqlite::Result<Account> {
    Ok(Account {
        id: row.get("id")?,
        name: row.get("name")?,
        salt: row.get("salt")?,
        password_hash: row.get("password_hash")?,
        private_key: row.get("private_key")?,
        public_key: row.get("public_key")?,
        push_url: row.get("push_url")?,
        command: Command {
            text: row.get("command")?,
            time: row.get::<_, i64>("command_time")?.cast_unsigned(),
            signature: row.get("command_signature")?,
        },
    })
}

fn write_command(connection: &Connection, id: AccountId, command: &Command) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE accounts SET command = ?2, command_time = ?3, command_signature = ?4
             WHERE id = ?1",
        )?
        .execute(params![
            id,
            command.text,
            command.time.cast_signed(),
            command.signature
        ])?;
    Ok(())
}
