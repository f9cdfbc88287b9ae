//! The canonical forms.

use super::*;

impl Canonical for SqlKey {
    const DOMAIN: &'static str = "w3b/sql-key";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 3;

    fn encode_fields(&self, e: &mut Encoder) {
        e.text(self.name.as_str()).bool(self.unique);
        e.list(&self.columns, |e, c| {
            e.text(c.as_str());
        });
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self { name: d.parse()?, unique: d.bool()?, columns: d.list(Decoder::parse)? })
    }
}

impl Canonical for SqlColumn {
    const DOMAIN: &'static str = "w3b/sql-column";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 5;

    fn encode_fields(&self, e: &mut Encoder) {
        e.text(self.name.as_str()).u64(self.datatype as u64).bool(self.null);
        e.option(self.default.as_ref(), |e, text| {
            e.text(text);
        });
        e.bool(self.autoincrement);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            name: d.parse()?,
            datatype: usize::try_from(d.u64()?)
                .ok()
                .and_then(|i| SqlType::ALL.get(i).copied())
                .ok_or_else(|| Malformed::new(Self::DOMAIN, "has an unknown datatype"))?,
            null: d.bool()?,
            default: d.option(|d| d.text().map(str::to_owned))?,
            autoincrement: d.bool()?,
        })
    }
}

impl Canonical for SqlTable {
    const DOMAIN: &'static str = "w3b/sql-table";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 3;

    fn encode_fields(&self, e: &mut Encoder) {
        e.text(self.name.as_str());
        e.list(&self.columns, |e, c| {
            e.item(c);
        });
        e.list(&self.keys, |e, k| {
            e.item(k);
        });
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self { name: d.parse()?, columns: d.list(|d| d.item())?, keys: d.list(|d| d.item())? })
    }
}

impl Canonical for Database {
    const DOMAIN: &'static str = "w3b/database";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 2;

    fn encode_fields(&self, e: &mut Encoder) {
        e.u64(self.max_bytes);
        e.list(&self.tables, |e, t| {
            e.item(t);
        });
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let database = Self { max_bytes: d.u64()?, tables: d.list(|d| d.item())? };
        database.check()?;
        Ok(database)
    }
}

impl SqlValue {
    /// A byte for the kind, then the value.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, value) = match self {
            Self::Null => (0, vec![]),
            Self::Integer(v) => (1, v.to_be_bytes().to_vec()),
            Self::Real(v) => (2, v.to_bits().to_be_bytes().to_vec()),
            Self::Text(v) => (3, v.as_bytes().to_vec()),
            Self::Blob(v) => (4, v.clone()),
            Self::Bool(v) => (5, vec![u8::from(*v)]),
        };
        [vec![kind], value].concat()
    }

    /// Reads what [`Self::to_bytes`] has written.
    ///
    /// # Errors
    /// [`Malformed`] if there is no such kind, or the value is none of it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let bad = || Malformed::new(SqlStatement::DOMAIN, "has a value of no kind");
        let (kind, value) = bytes.split_first().ok_or_else(bad)?;
        let eight = || <[u8; 8]>::try_from(value).map_err(|_| bad());
        match (kind, value) {
            (0, []) => Ok(Self::Null),
            (1, _) => eight().map(|b| Self::Integer(i64::from_be_bytes(b))),
            (2, _) => eight().map(|b| Self::Real(f64::from_bits(u64::from_be_bytes(b)))),
            (3, _) => String::from_utf8(value.to_vec()).map(Self::Text).map_err(|_| bad()),
            (4, _) => Ok(Self::Blob(value.to_vec())),
            (5, [v @ (0 | 1)]) => Ok(Self::Bool(*v == 1)),
            _ => Err(bad()),
        }
    }
}

impl Canonical for SqlStatement {
    const DOMAIN: &'static str = "w3b/sql-statement";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 2;

    fn encode_fields(&self, e: &mut Encoder) {
        e.text(&self.text);
        e.list(&self.params, |e, v| {
            e.bytes(&v.to_bytes());
        });
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self { text: d.text()?.to_owned(), params: d.list(|d| SqlValue::from_bytes(d.bytes()?))? })
    }
}

impl Canonical for SqlEntry {
    const DOMAIN: &'static str = "w3b/sql-entry";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 3;

    fn encode_fields(&self, e: &mut Encoder) {
        let (from, to, run) = match self {
            Self::Declare { from, to } => (from.as_ref(), Some(to), None),
            Self::Run(statement) => (None, None, Some(statement)),
        };
        for database in [from, to] {
            e.option(database, |e, d| {
                e.item(d);
            });
        }
        e.option(run, |e, s| {
            e.item(s);
        });
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        match (d.option(|d| d.item())?, d.option(|d| d.item())?, d.option(|d| d.item())?) {
            (from, Some(to), None) => Ok(Self::Declare { from, to }),
            (None, None, Some(statement)) => Ok(Self::Run(statement)),
            _ => Err(Malformed::new(Self::DOMAIN, "is neither a declaration nor a statement")),
        }
    }
}
