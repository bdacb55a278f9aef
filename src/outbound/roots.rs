//! Trusted roots from a PEM file (RFC 7468). One certificate that cannot be used does not take the others
//! away: it is left out, and named.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::parse_x509_certificate;

use crate::process::files::read_named;

/// The certificates of a bundle.
#[derive(Debug)]
pub struct Roots {
    /// Those that can be roots; at least one.
    pub store: RootCertStore,
    /// The others.
    pub left_out: Vec<LeftOut>,
}

/// A certificate of a bundle that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its place in the file, from 1.
    number: usize,
    /// The line of its `BEGIN`, from 1.
    line: usize,
    /// Its subject, if it can be read.
    subject: Option<String>,
    reason: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, line, subject, reason } = self;
        write!(f, "certificate {number} (line {line}")?;
        if let Some(subject) = subject {
            write!(f, ", {}", subject.escape_debug())?;
        }
        write!(f, ") {reason}")
    }
}

impl Roots {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, RootsError> {
        let pem = read_named(path)
            .map_err(|source| RootsError::Read { path: path.to_owned(), source })?;
        Self::parse(&pem).map_err(|why| RootsError::None { path: path.to_owned(), why })
    }

    /// Takes the certificates of a file's content. Fails with the reason if none can be a root.
    pub fn parse(pem: &[u8]) -> Result<Self, NoRoots> {
        let (mut store, mut left_out) = (RootCertStore::empty(), Vec::new());
        for (at, section) in sections(pem).into_iter().enumerate() {
            if let Err((subject, reason)) = section.add_to(&mut store) {
                left_out.push(LeftOut { number: at + 1, line: section.line, subject, reason });
            }
        }
        if store.is_empty() { Err(NoRoots(left_out)) } else { Ok(Self { store, left_out }) }
    }
}

/// Why a file gives no roots.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file cannot be read.
    #[error("cannot read certificates from {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// None of its certificates can be a root.
    #[error("{} {why}", path.display())]
    None {
        /// The file.
        path: PathBuf,
        /// What is wrong with those in it.
        why: NoRoots,
    },
}

/// No certificate of a bundle can be a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRoots(Vec<LeftOut>);

impl fmt::Display for NoRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("holds no certificate that can be used")?;
        for (at, left_out) in self.0.iter().enumerate() {
            write!(f, "{} {left_out}", if at == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

/// A PEM file without the byte order mark that editors on Windows put in front.
pub fn without_mark(pem: &[u8]) -> &[u8] {
    pem.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(pem)
}

/// The text of one certificate.
struct Section<'a> {
    line: usize,
    label: &'a str,
    /// With both marks; without the end if there is none.
    text: String,
}

impl Section<'_> {
    fn add_to(&self, store: &mut RootCertStore) -> Result<(), (Option<String>, String)> {
        if self.label == TRUSTED {
            let reason = "is OpenSSL's own form; `openssl x509 -in OLD -out NEW` makes a plain one";
            return Err((None, reason.to_owned()));
        }
        if !self.text.contains("-----END ") {
            return Err((None, "has no END line".to_owned()));
        }
        let certificate = CertificateDer::from_pem_slice(self.text.as_bytes())
            .map_err(|_| (None, "is not Base64".to_owned()))?;
        let subject = parse_x509_certificate(&certificate)
            .ok()
            .map(|(_, certificate)| certificate.subject().to_string());
        store.add(certificate).map_err(|error| (subject, format!("cannot be a root: {error}")))
    }
}

/// The certificates of a file, also those that are cut off. Everything else in it is passed over.
fn sections(pem: &[u8]) -> Vec<Section<'_>> {
    let Ok(text) = std::str::from_utf8(without_mark(pem)) else { return Vec::new() };
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut is_open = false;
    for (at, line) in text.lines().enumerate() {
        let label =
            line.trim().strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----"));
        if let Some(label) = label {
            is_open = matches!(label, "CERTIFICATE" | "X509 CERTIFICATE" | TRUSTED);
            if is_open {
                // The parser knows one name only.
                let text = "-----BEGIN CERTIFICATE-----\n".to_owned();
                sections.push(Section { line: at + 1, label, text });
            }
        } else if let Some(section) = sections.last_mut().filter(|_| is_open) {
            if line.trim().starts_with("-----END ") {
                section.text.push_str("-----END CERTIFICATE-----\n");
                is_open = false;
            } else {
                section.text.push_str(line);
                section.text.push('\n');
            }
        }
    }
    sections
}

const TRUSTED: &str = "TRUSTED CERTIFICATE";

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(name: &str) -> rcgen::Certificate {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap()
    }

    fn left_out(pem: &[u8]) -> Vec<String> {
        Roots::parse(pem).unwrap().left_out.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn usable_certificates_are_used_and_the_others_are_named() {
        let (good, odd) = (certificate("good"), certificate("odd"));
        let mut bytes = odd.der().to_vec();
        bytes.extend([0, 0]);
        let odd = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            BASE64_STANDARD.encode(bytes)
        );
        let good = good.pem();
        let line = good.lines().count() + 2;
        let told = left_out(format!("# ours\n{good}{odd}{good}").as_bytes());
        assert_eq!(told.len(), 1, "{told:?}");
        let begin = format!("certificate 2 (line {line}, ");
        assert!(
            told[0].starts_with(&begin) && told[0].contains("CN=odd) cannot be a root: "),
            "{told:?}"
        );
        for (broken, reason) in [
            (good.replacen("MII", "M!I", 1), "certificate 1 (line 1) is not Base64"),
            (
                good.replace("-----END CERTIFICATE-----\n", ""),
                "certificate 1 (line 1) has no END line",
            ),
            (
                good.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
                "certificate 1 (line 1) is OpenSSL's",
            ),
        ] {
            let told = left_out(format!("{broken}{good}").as_bytes());
            assert!(told.len() == 1 && told[0].starts_with(reason), "{told:?}");
            assert!(Roots::parse(broken.as_bytes()).unwrap_err().to_string().contains(reason));
        }
    }

    #[test]
    fn a_byte_order_mark_and_other_line_ends_are_no_matter() {
        let good = certificate("good").pem();
        for text in [format!("\u{feff}{good}"), format!("\u{feff}{}", good.replace('\n', "\r\n"))] {
            assert_eq!(left_out(text.as_bytes()), Vec::<String>::new());
        }
        for none in [&b""[..], b"\xff\xfe-\0-\0", b"-----BEGIN PRIVATE KEY-----\n"] {
            let told = Roots::parse(none).unwrap_err().to_string();
            assert_eq!(told, "holds no certificate that can be used");
        }
    }
}
