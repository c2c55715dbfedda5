//! `${NAME}`, `${NAME:-default}` and `$$` in a compose file.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

/// Replaces variables. Only those of the map are known: the suite must not depend on the caller's
/// environment or on the `.env` of an installation.
///
/// # Errors
/// A form that Compose has and this has not, or a variable without value and default, by line.
pub fn interpolate(text: &str, variables: &BTreeMap<String, String>) -> Result<String> {
    let mut done = String::with_capacity(text.len());
    for (number, line) in text.lines().enumerate() {
        let replaced = if line.trim_start().starts_with('#') {
            line.to_owned()
        } else {
            replace(line, variables).with_context(|| format!("line {}", number + 1))?
        };
        done.push_str(&replaced);
        done.push('\n');
    }
    Ok(done)
}

fn replace(line: &str, variables: &BTreeMap<String, String>) -> Result<String> {
    let mut done = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('$') {
        done.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            done.push('$');
            rest = after;
            continue;
        }
        let Some(inner) = rest.strip_prefix('{') else {
            bail!("`$` stands alone: write ${{NAME}} or $$")
        };
        let (expression, after) = inner.split_once('}').context("`${` is not closed")?;
        let (name, default) = match expression.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (expression, None),
        };
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        ensure!(
            plain,
            "${{{expression}}}: only ${{NAME}} and ${{NAME:-default}} are supported"
        );
        let value = variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
            .or(default);
        done.push_str(
            value.with_context(|| format!("${{{name}}} has neither a value nor a default"))?,
        );
        rest = after;
    }
    done.push_str(rest);
    Ok(done)
}
