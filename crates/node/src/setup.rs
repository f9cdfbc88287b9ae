//! Making a node's data folder.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use w3bstream_types::{Clock as _, SystemClock, Timestamp};
use w3bstream_wallet_file::{FileWallet, Passphrase};

use crate::admin::hash_token;
use crate::{Config, Paths};

/// What `init` has made.
#[derive(Debug)]
pub struct Made {
    /// The node's keys, open.
    pub wallet: FileWallet,
    /// The admin token. Only its hash is needed by the node.
    pub admin_token: String,
}

/// Makes keys, settings and admin token in a folder that has none.
///
/// # Errors
/// If there is a node already, or the folder cannot be written.
pub fn init(paths: &Paths, config: &Config, passphrase: Option<Passphrase>) -> anyhow::Result<Made> {
    let dir = paths.dir();
    if paths.keys().exists() || paths.config().exists() {
        bail!("{} holds a node already; run it with: w3bstream run --dir {}", dir.display(), dir.display());
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let passphrase = match passphrase {
        Some(given) => given,
        None => {
            let made = Passphrase::generate()?;
            made.save(&paths.passphrase())?;
            made
        }
    };
    let wallet = FileWallet::create(&paths.keys(), &passphrase)?;
    let admin_token = random_token()?;
    write_private(&paths.admin_token(), &format!("{admin_token}\n"))?;
    write_private(&paths.admin_hash(), &format!("{}\n", hash_token(&admin_token)))?;
    let text = toml::to_string(config)?;
    let head = "# Settings of a W3bstream node. Each can be overridden by W3BSTREAM_SECTION__KEY.\n\n";
    write_private(&paths.config(), &format!("{head}{text}"))?;
    Ok(Made { wallet, admin_token })
}

/// The node's own certificate in its folder, if `init --public` made one.
pub(crate) const CERTIFICATE: &str = "tls.crt";
const CERTIFICATE_KEY: &str = "tls.key";
/// How long such a certificate is good: as long as clients take at most.
const CERTIFICATE_DAYS: u64 = 398;

/// Settings of a node that devices reach from anywhere: everything that listens on all addresses is encrypted. What is plain
/// stays on loopback.
///
/// # Errors
/// If there is neither a certificate with its key nor a name, or files cannot be written.
pub(crate) fn public(
    paths: &Paths,
    (names, pair): (&[String], Option<(PathBuf, PathBuf)>),
) -> anyhow::Result<Config> {
    let (certificate, key) = match pair {
        Some((certificate, key)) => (std::fs::canonicalize(&certificate), std::fs::canonicalize(&key)),
        None => {
            make_certificate(paths, names)?;
            (Ok(CERTIFICATE.into()), Ok(CERTIFICATE_KEY.into()))
        }
    };
    let mut config = Config::default();
    config.tls.certificate = Some(certificate.context("--certificate")?);
    config.tls.key = Some(key.context("--key")?);
    let everywhere = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    config.http.tls_listen = Some(everywhere(8443));
    config.mqtt.tls_listen = Some(everywhere(8883));
    config.mqtt.wss_listen = Some(everywhere(8884));
    config.grpc.enabled = true;
    config.grpc.listen = everywhere(8890);
    config.grpc.tls = true;
    Ok(config)
}

fn make_certificate(paths: &Paths, names: &[String]) -> anyhow::Result<()> {
    if names.is_empty() {
        bail!(
            "devices that come from anywhere need a certificate to know this node by; give one:\n  \
             w3bstream init --public --certificate FILE --key FILE\nor the names and addresses for which one is \
             made:\n  w3bstream init --public --name node.example"
        );
    }
    if paths.keys().exists() || paths.config().exists() {
        // `init` says what is to be done.
        return Ok(());
    }
    let now = SystemClock.now();
    let until = Timestamp(now.0 + CERTIFICATE_DAYS * 86_400_000);
    let made = w3bstream_tls::self_signed(names, now, until)?;
    std::fs::create_dir_all(paths.dir()).with_context(|| format!("cannot make {}", paths.dir().display()))?;
    write_private(&paths.dir().join(CERTIFICATE), &made.certificate)?;
    write_private(&paths.dir().join(CERTIFICATE_KEY), &made.key)
}

/// Opens the keys of a folder.
///
/// # Errors
/// If there is no node, no passphrase, or it is the wrong one.
pub fn open_wallet(paths: &Paths, passphrase: Option<Passphrase>) -> anyhow::Result<FileWallet> {
    if !paths.keys().exists() {
        let dir = paths.dir().display();
        bail!("there is no node in {dir}; make one with: w3bstream init --dir {dir}");
    }
    let passphrase = match passphrase {
        Some(given) => given,
        None if paths.passphrase().exists() => Passphrase::from_file(&paths.passphrase())?,
        None => bail!(
            "the keys need a passphrase; give --passphrase-file FILE or W3BSTREAM_PASSPHRASE (there is no {})",
            paths.passphrase().display()
        ),
    };
    Ok(FileWallet::open(&paths.keys(), &passphrase)?)
}

/// A new token of 256 random bits.
///
/// # Errors
/// If the operating system gives no random numbers.
pub(crate) fn random_token() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("no random numbers: {e}"))?;
    Ok(format!("w3b_{}", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()))
}

/// Writes a new file that only its owner can read.
///
/// # Errors
/// If it exists or cannot be written.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("cannot make {}", path.display()))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(|| path.display().to_string())
}
