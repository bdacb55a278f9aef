//! A witness: a server elsewhere that signs a head if the tree behind it only grew (C2SP tlog-witness).

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use parking_lot::Mutex;

use super::{Note, SignedHead, tiles::Tiles};
use crate::{
    audit::{chain::Hash, settings::WitnessSettings},
    domain::VerifierKey,
    error::Chain,
    outbound::{CallLimits, Client, ClientError, ClientSetupError, ForwardProxySettings, Trust},
};

/// A witness, and what it has seen.
#[derive(Debug)]
pub(super) struct Witness {
    key: VerifierKey,
    client: Client,
    path: Uri,
    /// The size of the tree that it cosigned last, as far as this process knows.
    known: u64,
    failing: bool,
    progress: Arc<WitnessProgress>,
}

/// How a witness stands, for the administration.
#[derive(Debug)]
pub(super) struct WitnessProgress {
    name: String,
    size: AtomicU64,
    since: Mutex<Instant>,
    failures: AtomicU64,
    contradicts: AtomicBool,
}

/// How a witness of the trail stands.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct WitnessStats {
    /// The name in its key.
    pub name: String,
    /// How many lines of the chain it has cosigned; 0 if none since the start.
    pub size: u64,
    /// Seconds since then, or since the start.
    pub age_seconds: u64,
    /// How many heads it has not cosigned.
    pub failures: u64,
    /// It knows another history of the chain than the trail has.
    pub contradicts: bool,
}

impl WitnessProgress {
    pub(super) fn stats(&self) -> WitnessStats {
        WitnessStats {
            name: self.name.clone(),
            size: self.size.load(Ordering::Relaxed),
            age_seconds: self.since.lock().elapsed().as_secs(),
            failures: self.failures.load(Ordering::Relaxed),
            contradicts: self.contradicts.load(Ordering::Relaxed),
        }
    }
}

impl Witness {
    pub(super) fn new(settings: &WitnessSettings) -> Result<Self, ClientSetupError> {
        let limits = CallLimits { time: TIME_LIMIT, body: MAX_ANSWER };
        let no_proxy = ForwardProxySettings::default();
        let progress = WitnessProgress {
            name: settings.key.name().to_owned(),
            size: AtomicU64::new(0),
            since: Mutex::new(Instant::now()),
            failures: AtomicU64::new(0),
            contradicts: AtomicBool::new(false),
        };
        Ok(Self {
            key: settings.key.clone(),
            client: Client::new(
                settings.url.origin(),
                Trust::Roots(None),
                None,
                &no_proxy,
                limits,
            )?,
            path: settings.url.path_of("add-checkpoint"),
            known: 0,
            failing: false,
            progress: Arc::new(progress),
        })
    }

    pub(super) fn progress(&self) -> &Arc<WitnessProgress> {
        &self.progress
    }

    /// Its signature line for a head. Logs the first failure of a series.
    pub(super) async fn cosign(
        &mut self,
        head: &SignedHead,
        note: &Note,
        tiles: &Tiles<'_>,
    ) -> Option<String> {
        let progress = Arc::clone(&self.progress);
        let witness = progress.name.as_str();
        match self.ask(head, note, tiles).await {
            Ok(line) => {
                self.known = head.tree.size();
                progress.size.store(self.known, Ordering::Relaxed);
                *progress.since.lock() = Instant::now();
                progress.contradicts.store(false, Ordering::Relaxed);
                if std::mem::take(&mut self.failing) {
                    tracing::info!(witness, "the witness cosigns the audit trail again");
                }
                Some(line)
            }
            Err(error) => {
                progress.failures.fetch_add(1, Ordering::Relaxed);
                let contradicts = error.contradicts();
                let did = progress.contradicts.swap(contradicts, Ordering::Relaxed);
                if contradicts && !did {
                    tracing::error!(
                        witness,
                        reason = %Chain(&error),
                        "a witness knows another history of the audit trail; examine it with `audit verify`"
                    );
                } else if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(
                        witness,
                        reason = %Chain(&error),
                        "the witness does not cosign the audit trail; the next head is tried again"
                    );
                }
                self.failing = true;
                None
            }
        }
    }

    async fn ask(
        &mut self,
        head: &SignedHead,
        note: &Note,
        tiles: &Tiles<'_>,
    ) -> Result<String, WitnessError> {
        let size = head.tree.size();
        // The witness says which size it knows if it is not this one; that may happen once for each of us.
        for _ in 0..ATTEMPTS {
            let proof = tiles.proof_from(self.known).map_err(WitnessError::Tiles)?;
            let (status, answer) = self.post(body(self.known, &proof, &head.note)).await?;
            match status {
                StatusCode::OK => {
                    let lines = std::str::from_utf8(&answer).unwrap_or_default();
                    let line = note.cosignature(lines, &self.key);
                    return line.ok_or(WitnessError::NoCosignature);
                }
                StatusCode::CONFLICT => {
                    let known = known_size(&answer).ok_or(WitnessError::NoSize)?;
                    if known > size {
                        return Err(WitnessError::Ahead { known, size });
                    }
                    if known == self.known {
                        return Err(self.other_tree(status));
                    }
                    self.known = known;
                }
                StatusCode::UNPROCESSABLE_ENTITY => {
                    return Err(self.other_tree(status));
                }
                status => return Err(WitnessError::Status { status }),
            }
        }
        Err(WitnessError::NoSize)
    }

    /// A witness that has seen nothing has nothing to contradict.
    fn other_tree(&self, status: StatusCode) -> WitnessError {
        match self.known {
            0 => WitnessError::Status { status },
            size => WitnessError::OtherTree { size },
        }
    }

    async fn post(&self, body: String) -> Result<(StatusCode, Bytes), ClientError> {
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        let answer = self.client.send(request).await?;
        let status = answer.status;
        let body = answer.body().await?;
        Ok((status, Bytes::copy_from_slice(&body)))
    }
}

/// The body of `add-checkpoint`.
fn body(old: u64, proof: &[Hash], note: &str) -> String {
    let mut body = format!("old {old}\n");
    for hash in proof {
        BASE64_STANDARD.encode_string(hash.0, &mut body);
        body.push('\n');
    }
    body.push('\n');
    body.push_str(note);
    body
}

/// The size in an answer of 409.
fn known_size(answer: &[u8]) -> Option<u64> {
    std::str::from_utf8(answer).ok()?.strip_suffix('\n')?.parse().ok()
}

/// Why a witness did not cosign a head.
#[derive(Debug, thiserror::Error)]
enum WitnessError {
    #[error("it cannot be reached")]
    Unreachable(#[from] ClientError),
    #[error("it answers {status}{}", hint(*status))]
    Status { status: StatusCode },
    #[error("its answer has no valid signature of its key")]
    NoCosignature,
    #[error("its answer does not say which size it knows")]
    NoSize,
    #[error(
        "it has seen {known} lines of the chain, and the trail has {size}: the trail was cut, restored or \
         copied"
    )]
    Ahead { known: u64, size: u64 },
    #[error("the first {size} lines of the chain are not those that it has seen")]
    OtherTree { size: u64 },
    #[error("the proof for it cannot be made")]
    Tiles(#[source] io::Error),
}

impl WitnessError {
    /// Whether the witness has seen something else than the trail has.
    fn contradicts(&self) -> bool {
        matches!(self, Self::Ahead { .. } | Self::OtherTree { .. })
    }
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => ": it does not know the log; give it the key in `tlog/key`",
        StatusCode::FORBIDDEN => ": it knows another key of the log; give it the one in `tlog/key`",
        _ => "",
    }
}

/// Once with the size that is known here, once with the size that the witness names, once more if another
/// process cosigned in between.
const ATTEMPTS: u32 = 3;
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// A few signatures of up to 5 KB.
const MAX_ANSWER: usize = 64 * 1024;
