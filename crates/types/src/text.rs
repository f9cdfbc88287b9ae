//! How values stand in JSON: checked text types as their text, bytes as lower-case hex. One value has one
//! text, so upper-case digits are refused.

/// Serialises a checked text type as its text.
macro_rules! text_serde {
    ($name:ident) => {
        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <::std::borrow::Cow<'de, str> as ::serde::Deserialize>::deserialize(d)?;
                text.parse().map_err(::serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use text_serde;

/// Bytes of lower-case hex digits.
fn unhex<E: serde::de::Error>(text: &str) -> Result<Vec<u8>, E> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(E::custom("expected lower-case hex digits"));
    }
    hex::decode(text).map_err(|_| E::custom("expected an even number of lower-case hex digits"))
}

/// `Vec<u8>` or `[u8; N]` as hex, for `#[serde(with = "…")]`.
pub(crate) mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &impl AsRef<[u8]>, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&hex::encode(bytes))
    }

    pub(crate) fn deserialize<'de, D, T>(d: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: TryFrom<Vec<u8>>,
    {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let wrong = |_| serde::de::Error::custom("has the wrong number of bytes");
        super::unhex(&text)?.try_into().map_err(wrong)
    }
}

/// `Vec<u8>` as base64 with padding (RFC 4648 §4), for `#[serde(with = "…")]`.
pub(crate) mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        STANDARD.decode(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}

/// `Option<Vec<u8>>` as hex, left away rather than `null`, for `#[serde(with = "…")]`.
pub(crate) mod hex_option {
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, s: S) -> Result<S::Ok, S::Error> {
        super::hex_bytes::serialize(&bytes.as_deref().unwrap_or_default(), s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<u8>>, D::Error> {
        super::hex_bytes::deserialize(d).map(Some)
    }
}

/// Signers and signatures as `[{"member": 0, "signature": "…"}]`, for `#[serde(with = "…")]`.
pub(crate) mod signatures {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct One {
        member: u32,
        #[serde(with = "super::hex_bytes")]
        signature: Vec<u8>,
    }

    pub(crate) fn serialize<S: Serializer, const N: usize>(
        list: &[(u32, [u8; N])],
        s: S,
    ) -> Result<S::Ok, S::Error> {
        s.collect_seq(list.iter().map(|(member, sig)| One { member: *member, signature: sig.to_vec() }))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        d: D,
    ) -> Result<Vec<(u32, [u8; N])>, D::Error> {
        let wrong = |_| serde::de::Error::custom(format!("a signature must have {N} bytes"));
        let list = Vec::<One>::deserialize(d)?;
        list.into_iter().map(|o| Ok((o.member, o.signature.try_into().map_err(wrong)?))).collect()
    }
}

/// An `Option` whose member must be there, if only as `null`, for `#[serde(deserialize_with = "…")]`.
pub(crate) fn nullable<'de, D, T>(d: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    serde::Deserialize::deserialize(d)
}

/// An `Option` whose member is left away rather than `null`, for `#[serde(deserialize_with = "…")]`.
pub(crate) fn present<'de, D, T>(d: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    T::deserialize(d).map(Some)
}
