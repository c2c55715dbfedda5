//! Names nobody can guess.

/// Letters and digits that can't be mistaken for one another (no 0, O, 1, l, I),
/// as upstream uses them for account ids and tokens.
const ALPHABET: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// `length` letters, each equally likely.
///
/// # Errors
/// When the system gives no random bytes.
pub fn letters(length: usize) -> Result<String, getrandom::Error> {
    let mut text = String::with_capacity(length);
    let mut bytes = [0_u8; 64];
    while text.len() < length {
        getrandom::fill(&mut bytes)?;
        let wanted = length - text.len();
        text.extend(bytes.iter().filter_map(|byte| letter(*byte)).take(wanted));
    }
    Ok(text)
}

/// The letter for a random byte, or none for the bytes at the top that would
/// make the first letters likelier.
fn letter(byte: u8) -> Option<char> {
    let count = ALPHABET.len();
    let limit = 256 - 256 % count;
    (usize::from(byte) < limit).then(|| char::from(ALPHABET[usize::from(byte) % count]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_have_the_length_asked_for_and_no_lookalikes() {
        for length in [0, 1, 5, 32, 64, 500] {
            let text = letters(length).unwrap();
            assert_eq!(text.len(), length);
            assert!(!text.contains(['0', 'O', '1', 'l', 'I']));
        }
    }

    #[test]
    fn every_letter_is_equally_likely() {
        let mut counts = std::collections::HashMap::new();
        for c in (0..=u8::MAX).filter_map(letter) {
            *counts.entry(c).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), ALPHABET.len());
        assert!(counts.values().all(|count| *count == 4));
    }
}
