//! Words for the shell at the far end: ssh joins its arguments with blanks, and a shell splits
//! them again.

/// Quotes one word so that `sh`, and `fish` as a login shell, read it as it is.
///
/// Both take everything in single quotes literally, but `fish` reads a backslash there as an
/// escape of quotes and of itself, so backslashes go into double quotes.
pub fn word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let inner: String = word
        .chars()
        .map(|c| match c {
            '\'' => r#"'"'"'"#.to_owned(),
            '\\' => r#"'"\\"'"#.to_owned(),
            other => other.to_string(),
        })
        .collect();
    format!("'{inner}'")
}

/// A command line of these words.
pub fn line<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|one| word(one.as_ref())).collect();
    quoted.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_gives_every_word_back() {
        let words = [
            "plain",
            "",
            "two words",
            "it's",
            r"back\slash",
            "$HOME `id` \"x\"",
            "a\nb",
            "*",
            "~",
            "!",
            "ä",
        ];
        let script = format!("printf '%s\\0' {}", line(words));
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.split_terminator('\0').collect::<Vec<_>>(), words);
    }
}
