//! The trail's two keys: one signs checkpoints, one hashes object ids.
//!
//! The gateway creates both at the first start. Someone who can write the trail but not read the signing
//! key can cut off its end, or rewrite what no checkpoint has signed yet, and nothing else that
//! [`verify`](mod@super::verify) would call ok. Against the host's own administrator, only copies of the
//! checkpoints outside the host help.

use std::{
    fmt, fs,
    io::{self, Write as _},
    iter,
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    encoding::AsDer as _,
    hmac,
    rand::{self, SecureRandom as _},
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer, pem::PemObject as _};
use zeroize::Zeroizing;

use super::chain::Hash;
use crate::{
    domain::{SignatureKind, VerifierKey, hex::digits},
    process::files::{self, WritableByOthers},
};

/// The file name of the signing key.
pub const SIGNING_KEY: &str = "signing-key.pem";
/// The file name of the signing key's public half.
pub const PUBLIC_KEY: &str = "signing-key.pub.pem";
/// The file name of the key that hashes object ids.
pub const OBJECT_KEY: &str = "object-key";

/// Signs checkpoints, and the manifests of evidence bundles.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// Reads the key, or creates one, and writes its public half into the trail's directory.
    pub(super) fn open(path: &Path, directory: &Path) -> Result<Self, KeyError> {
        if !path.try_exists().unwrap_or(true) {
            let pem = generate().ok_or(KeyError::NoEntropy)?;
            write_new(path, &pem)
                .map_err(|source| KeyError::Unusable { path: path.to_owned(), source })?;
        }
        let key = Self::read(path)?;
        let public_path = directory.join(PUBLIC_KEY);
        let pem = key.public_pem().ok_or_else(|| KeyError::NotAKey { path: path.to_owned() })?;
        if files::read_own(&public_path).ok().as_deref() != Some(pem.as_bytes()) {
            files::replace(&public_path, pem.as_bytes())
                .map_err(|source| KeyError::Unusable { path: public_path, source })?;
        }
        Ok(key)
    }

    /// Reads the key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        files::keep_writers_out(path)?;
        let invalid = || KeyError::NotAKey { path: path.to_owned() };
        let pem = files::read_named(path)
            .map_err(|source| KeyError::Unusable { path: path.to_owned(), source })?;
        let pem = Zeroizing::new(pem);
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| invalid())?;
        let pair = Ed25519KeyPair::from_pkcs8(key.secret_der()).map_err(|_| invalid())?;
        let der = pair.public_key().as_der().map_err(|_| invalid())?;
        let public = PublicKey::from_der(der.as_ref()).ok_or_else(invalid)?;
        Ok(Self { pair, public })
    }

    /// The key's name in checkpoints.
    pub fn id(&self) -> &str {
        &self.public.id
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The public half in PEM; `None` only without memory.
    pub fn public_pem(&self) -> Option<String> {
        let der = self.pair.public_key().as_der().ok()?;
        Some(pem_of("PUBLIC KEY", der.as_ref()).to_string())
    }

    /// The signature over a message.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        // Signing fails only without memory; an empty signature is never valid.
        self.pair.try_sign(message).map_or_else(|_| Vec::new(), |s| s.as_ref().to_vec())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id())
    }
}

/// Checks the signatures of a [`SigningKey`], and of those that it replaced.
#[derive(Clone)]
pub struct PublicKey {
    key: ParsedPublicKey,
    id: String,
    /// The key itself (RFC 8032 §5.1.5).
    bytes: [u8; 32],
    /// The keys that it replaced, the newest first.
    earlier: Vec<Self>,
}

impl PublicKey {
    /// Reads a public key in PEM (`BEGIN PUBLIC KEY`). Keys that it replaced may stand behind it, the newest
    /// first.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let pem = fs::read(path)
            .map_err(|source| KeyError::Unusable { path: path.to_owned(), source })?;
        Self::from_pem(&pem).ok_or_else(|| KeyError::NotAKey { path: path.to_owned() })
    }

    /// Reads the public key in the directory of a trail.
    pub fn of_trail(directory: &Path) -> Result<Self, KeyError> {
        let path = directory.join(PUBLIC_KEY);
        match files::read_own(&path) {
            Ok(pem) => Self::from_pem(&pem).ok_or(KeyError::NotAKey { path }),
            Err(source) => Err(KeyError::Unusable { path, source }),
        }
    }

    /// Parses a public key in PEM, and those that it replaced.
    pub fn from_pem(pem: &[u8]) -> Option<Self> {
        let keys = SubjectPublicKeyInfoDer::pem_slice_iter(pem);
        let mut keys = keys.map(|der| Self::from_der(&der.ok()?));
        let current = keys.next()??;
        Some(Self { earlier: keys.collect::<Option<_>>()?, ..current })
    }

    /// Reads a file of the public keys of several gateways in PEM.
    pub(super) fn read_all(path: &Path) -> Result<Vec<Self>, KeyError> {
        let Self { earlier, key, id, bytes } = Self::read(path)?;
        let first = Self { key, id, bytes, earlier: Vec::new() };
        Ok(iter::once(first).chain(earlier).collect())
    }

    fn from_der(der: &[u8]) -> Option<Self> {
        let key = ParsedPublicKey::new(&ED25519, der).ok()?;
        let id = Hash::of(der).to_string().get(..16)?.to_owned();
        // RFC 8410 §4: the key is the end of its DER form.
        Some(Self { key, id, bytes: *der.last_chunk()?, earlier: Vec::new() })
    }

    /// The key and those that it replaced, the newest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Self> {
        iter::once(self).chain(&self.earlier)
    }

    /// The key of that name among them, and how many are newer.
    pub fn named(&self, id: &str) -> Option<(usize, &Self)> {
        self.all().enumerate().find(|(_, key)| key.id == id)
    }

    /// The names of the keys that it replaced.
    pub fn earlier(&self) -> impl Iterator<Item = &str> {
        self.earlier.iter().map(Self::id)
    }

    /// The key as the key of a log's notes.
    pub(super) fn verifier_key(&self, origin: &str) -> VerifierKey {
        VerifierKey::new(origin, SignatureKind::Note, self.bytes)
    }

    /// The key as a witness would use it.
    #[cfg(test)]
    pub(super) fn cosigner_key(&self, name: &str) -> VerifierKey {
        VerifierKey::new(name, SignatureKind::Cosignature, self.bytes)
    }

    /// The key's name in checkpoints: the first 16 digits of its SHA-256 (DER).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether this key made the signature (Base64) over the message.
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        BASE64_STANDARD
            .decode(signature)
            .is_ok_and(|signature| self.key.verify_sig(message, &signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id)
    }
}

/// Hashes object ids: an object always gets the same name, which does not reveal its id.
#[derive(Clone)]
pub struct ObjectKey(hmac::Key);

impl ObjectKey {
    const BYTES: usize = 32;

    /// Reads the key of a trail.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let at = |source| KeyError::Unusable { path: path.to_owned(), source };
        let bytes = Zeroizing::new(files::read_named(path).map_err(at)?);
        if bytes.len() < Self::BYTES {
            return Err(KeyError::NotAKey { path: path.to_owned() });
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// Reads the key, or creates one.
    pub(super) fn open(path: &Path) -> Result<Self, KeyError> {
        files::keep_writers_out(path)?;
        if !path.try_exists().unwrap_or(true) {
            let mut bytes = Zeroizing::new([0; Self::BYTES]);
            rand::SystemRandom::new().fill(&mut *bytes).map_err(|_| KeyError::NoEntropy)?;
            write_new(path, &*bytes)
                .map_err(|source| KeyError::Unusable { path: path.to_owned(), source })?;
        }
        Self::read(path)
    }

    /// The name of an object: `~` and 32 hexadecimal digits of HMAC-SHA-256 over the UUID in lower
    /// case.
    pub fn name(&self, uuid: &str) -> String {
        let tag = hmac::sign(&self.0, uuid.to_ascii_lowercase().as_bytes());
        let mut name = String::with_capacity(33);
        name.push('~');
        for byte in tag.as_ref().iter().take(16) {
            name.extend(digits(*byte).map(char::from));
        }
        name
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObjectKey(…)")
    }
}

fn generate() -> Option<Zeroizing<Vec<u8>>> {
    let document = Ed25519KeyPair::generate().ok()?.to_pkcs8v1().ok()?;
    Some(Zeroizing::new(pem_of("PRIVATE KEY", document.as_ref()).as_bytes().to_vec()))
}

/// Textual encoding of RFC 7468.
fn pem_of(label: &str, der: &[u8]) -> Zeroizing<String> {
    let mut pem = Zeroizing::new(format!("-----BEGIN {label}-----\n"));
    let text = Zeroizing::new(BASE64_STANDARD.encode(der));
    for (at, letter) in text.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.extend(["\n-----END ", label, "-----\n"]);
    pem
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = files::own().create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or created.
    #[error("the key file {} cannot be used", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// Others may write the file.
    #[error("the key file {0}")]
    Exposed(#[from] WritableByOthers),
    /// The file does not hold such a key.
    #[error(
        "{} is not a key of the expected kind; move it away to let the gateway create one, or name another file",
        path.display()
    )]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The operating system gave no random numbers.
    #[error("the operating system gave no random numbers for a new key")]
    NoEntropy,
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_signing_key_is_created_once_and_its_public_half_checks_signatures() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(SIGNING_KEY);
        let made = SigningKey::open(&path, home.path()).unwrap();
        let read = SigningKey::open(&path, home.path()).unwrap();
        assert_eq!(made.id(), read.id());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let public = PublicKey::read(&home.path().join(PUBLIC_KEY)).unwrap();
        assert_eq!(public.id(), made.id());
        let signature = BASE64_STANDARD.encode(read.sign(b"message"));
        assert!(public.verifies(b"message", &signature));
        assert!(!public.verifies(b"other", &signature));
        assert!(!public.verifies(b"message", "no signature"));
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_file_that_is_not_a_key_stays_unchanged() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        fs::write(&path, "something else").unwrap();
        let error = SigningKey::open(&path, home.path()).unwrap_err().to_string();
        assert!(error.contains("not a key of the expected kind"), "{error}");
        assert!(ObjectKey::open(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"something else");
    }

    #[test]
    fn an_object_always_gets_the_same_name() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(OBJECT_KEY);
        let key = ObjectKey::open(&path).unwrap();
        let name = key.name("0190D1C2-9a4e-7cc3-8f00-1234567890ab");
        assert_eq!(name.len(), 33);
        assert_eq!(
            ObjectKey::open(&path).unwrap().name("0190d1c2-9a4e-7cc3-8f00-1234567890ab"),
            name
        );
        let other = ObjectKey::open(&home.path().join("other")).unwrap();
        assert_ne!(other.name("0190d1c2-9a4e-7cc3-8f00-1234567890ab"), name);
    }
}
