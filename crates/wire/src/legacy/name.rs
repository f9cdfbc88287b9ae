//! From the original's free names to a node's.

use std::str::FromStr;

use w3bstream_types::{Digest, EventType, Malformed, PublisherName};

/// The longest name of a node.
const MAX: usize = 63;
/// What is left of a name that gets a digest's first digits: `-` and eight of them.
const MAX_BEFORE_DIGITS: usize = MAX - 9;

/// A name of the original as a node's: letters become small, any other character of ASCII becomes `-`. A name that
/// is too long or has characters beyond ASCII ends with digits of its digest, so that two of them differ still.
/// `my_Project` is `my-project`.
///
/// Two names can become the same one; whoever creates things sees to it that they do not.
#[must_use]
pub fn fold_name(name: &str) -> String {
    if name.is_ascii() && name.len() <= MAX { plain(name) } else { with_digits(name) }
}

fn plain(name: &str) -> String {
    let fold = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(fold).collect()
}

fn with_digits(name: &str) -> String {
    let mut folded: String = plain(name).chars().take(MAX_BEFORE_DIGITS).collect();
    let digest = Digest::of(name.as_bytes()).to_string();
    folded.push('-');
    folded.extend(digest.chars().take(8));
    folded
}

/// The event type of an event or strategy: `DEFAULT`, and none at all, is `default`.
///
/// # Errors
/// None that a text can cause: every folded name is a name.
pub fn event_type_of(text: &str) -> Result<EventType, Malformed> {
    if text.is_empty() { "default".parse() } else { fold_name(text).parse() }
}

/// The publisher of a key (the device's id in the original). A key that is no name of a node gets digits of its digest, so
/// that no two keys are one publisher.
///
/// # Errors
/// [`Malformed`] for an empty key.
pub fn publisher_of(key: &str) -> Result<PublisherName, Malformed> {
    if key.is_empty() {
        return Err(Malformed::new("publisher key", "must not be empty"));
    }
    PublisherName::from_str(key).or_else(|_| with_digits(key).parse())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_and_stay_readable() {
        assert_eq!(fold_name("My_Project"), "my-project");
        assert_eq!(event_type_of("DEFAULT").unwrap().as_str(), "default");
        assert_eq!(event_type_of("").unwrap().as_str(), "default");
        assert_eq!(event_type_of("ANY.Type 1").unwrap().as_str(), "any-type-1");
    }

    #[test]
    fn names_that_lose_too_much_end_with_digits() {
        let (a, b) = (fold_name("气温"), fold_name("湿度"));
        assert!(a.starts_with("---") && a.len() == 11, "{a}");
        assert_ne!(a, b);
        let (long, longer) = (fold_name(&"x".repeat(64)), fold_name(&"x".repeat(65)));
        assert_eq!(long.len(), 63);
        assert_ne!(long, longer);
        event_type_of(&"é".repeat(100)).unwrap();
    }

    #[test]
    fn no_two_keys_are_one_publisher() {
        let keys =
            ["dev-1", "dev_1", "Dev-1", "dev 1", "设备", "did:io:0x00112233445566778899aabbccddeeff00112233"];
        let mut names: Vec<_> = keys.iter().map(|k| publisher_of(k).unwrap()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), keys.len());
        assert_eq!(publisher_of("dev-1").unwrap().as_str(), "dev-1", "what is a name stays as it is");
        publisher_of("").unwrap_err();
    }
}
