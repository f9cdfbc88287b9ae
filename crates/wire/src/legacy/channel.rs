//! Channels: a project as it is addressed.

use w3bstream_types::{Address, Malformed, ProjectName};

use super::fold_name;

/// Whose project it is, as the original wrote it before the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// `aid_{id}_`: an account.
    Account(u64),
    /// `eth_{address}_`: an account by its address.
    Address(Address),
}

/// A channel: `{name}`, `aid_{id}_{name}` or `eth_{address}_{name}`. The original took the long forms alone, which most of
/// its users did not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// As it was sent; answers repeat it.
    pub text: String,
    /// The owner, if it was named. A node has one project of a name, so this need not decide anything.
    pub owner: Option<Owner>,
    /// The project.
    pub project: ProjectName,
}

impl Channel {
    /// Reads a channel.
    ///
    /// # Errors
    /// [`Malformed`] if it names no project, or has a `/`.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (owner, name) = split(text);
        if name.is_empty() || name.contains(['/', '+', '#', '\0']) {
            let why = "must be a project's name, with or without aid_<account>_ or eth_<address>_ before it";
            return Err(Malformed::new("channel", why));
        }
        Ok(Self { text: text.to_owned(), owner, project: fold_name(name).parse()? })
    }

    /// The channel's long form for a project of an account.
    #[must_use]
    pub fn of_account(account: u64, name: &str) -> String {
        format!("aid_{account}_{name}")
    }
}

fn split(text: &str) -> (Option<Owner>, &str) {
    let long = |prefix: &str| text.strip_prefix(prefix).and_then(|rest| rest.split_once('_'));
    if let Some((id, name)) = long("aid_")
        && let Ok(id) = id.parse()
    {
        return (Some(Owner::Account(id)), name);
    }
    if let Some((address, name)) = long("eth_")
        && let Ok(address) = address.to_ascii_lowercase().parse()
    {
        return (Some(Owner::Address(address)), name);
    }
    (None, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second trap: a channel is accepted with and without its owner's prefix.
    #[test]
    fn trap_02_a_channel_has_a_prefix_or_none() {
        let address = "0xAb5801a7D398351b8bE11C439e05C5B3259aeC9B";
        for text in [
            "first_project",
            "aid_18446744073709551615_first_project",
            &format!("eth_{address}_first_project"),
        ] {
            let channel = Channel::parse(text).unwrap();
            assert_eq!(channel.project.as_str(), "first-project", "{text}");
            assert_eq!(channel.text, text);
        }
        assert_eq!(Channel::parse(&Channel::of_account(7, "p")).unwrap().owner, Some(Owner::Account(7)));
    }

    #[test]
    fn what_only_looks_like_a_prefix_is_a_name() {
        for (text, project) in [
            ("aid_x_p", "aid-x-p"),
            ("aid_5", "aid-5"),
            ("eth_0x12_p", "eth-0x12-p"),
            ("aid_99999999999999999999_p", "aid-99999999999999999999-p"),
        ] {
            let channel = Channel::parse(text).unwrap();
            assert_eq!((channel.owner, channel.project.as_str()), (None, project));
        }
    }

    #[test]
    fn a_channel_without_a_name_or_with_a_slash_is_refused() {
        for text in ["", "aid_5_", "a/b", "a+", "#"] {
            Channel::parse(text).unwrap_err();
        }
    }
}
