//! The two ways in which a value can be wrong, and what the caller does about an error.

use std::borrow::Cow;

/// Bytes or text that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}: {why}")]
pub struct Malformed {
    /// What was read, such as `digest` or `did`.
    pub what: Cow<'static, str>,
    /// What is wrong with it.
    pub why: Cow<'static, str>,
}

impl Malformed {
    /// An error about `what`, because of `why`.
    #[must_use]
    pub fn new(what: impl Into<Cow<'static, str>>, why: impl Into<Cow<'static, str>>) -> Self {
        Self { what: what.into(), why: why.into() }
    }
}

/// Evidence that does not show what it should: a wrong signature, digest or quorum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{link}: {why}")]
pub struct Invalid {
    /// The link that is broken, such as `signature` or `quorum`.
    pub link: &'static str,
    /// In what way.
    pub why: Cow<'static, str>,
}

impl Invalid {
    /// A broken `link`, because of `why`.
    #[must_use]
    pub fn new(link: &'static str, why: impl Into<Cow<'static, str>>) -> Self {
        Self { link, why: why.into() }
    }
}

/// What the caller of a room does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// The input is bad and will stay bad: answer with a permanent refusal, count it, go on.
    Refuse,
    /// It may work later: keep the input, back off, try again.
    Retry,
    /// State is no longer trusted: stop the project (or the node) and tell the operator.
    Halt,
}

/// Defines a room's `ErrorKind` and `Error`: the same shape in every room, so that one who knows one knows
/// all. Each kind names the [`Disposition`] of the caller.
///
/// ```
/// w3bstream_types::room_error! {
///     /// The disk failed.
///     Io => Retry,
///     /// There is no such thing.
///     NotFound => Refuse,
/// }
/// let e = Error::new(ErrorKind::Io, "cannot read a.db").with_source(std::io::Error::other("gone"));
/// assert_eq!(e.disposition(), w3bstream_types::Disposition::Retry);
/// assert_eq!(e.to_string(), "cannot read a.db: gone");
/// ```
#[macro_export]
macro_rules! room_error {
    ($($(#[$doc:meta])* $kind:ident => $disposition:ident,)+) => {
        /// What went wrong, as far as a caller branches on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[$doc])* $kind,)+
        }

        /// An error of this room: a kind, what it is about, and the cause.
        #[derive(Debug)]
        pub struct Error {
            kind: ErrorKind,
            what: String,
            source: Option<Box<dyn ::std::error::Error + Send + Sync>>,
        }

        impl Error {
            /// An error without a deeper cause.
            #[must_use]
            pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
                Self { kind, what: what.into(), source: None }
            }

            /// Adds the cause.
            #[must_use]
            pub fn with_source(
                mut self,
                source: impl Into<Box<dyn ::std::error::Error + Send + Sync>>,
            ) -> Self {
                self.source = Some(source.into());
                self
            }

            /// The kind.
            #[must_use]
            pub const fn kind(&self) -> ErrorKind {
                self.kind
            }

            /// What the caller does about it.
            #[must_use]
            pub const fn disposition(&self) -> $crate::Disposition {
                match self.kind {
                    $(ErrorKind::$kind => $crate::Disposition::$disposition,)+
                }
            }
        }

        impl ::std::fmt::Display for Error {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                match &self.source {
                    None => f.write_str(&self.what),
                    Some(source) => write!(f, "{}: {source}", self.what),
                }
            }
        }

        impl ::std::error::Error for Error {
            fn source(&self) -> Option<&(dyn ::std::error::Error + 'static)> {
                self.source.as_ref().map(|s| &**s as &(dyn ::std::error::Error + 'static))
            }
        }
    };
}
