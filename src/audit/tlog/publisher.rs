//! The publisher's thread: makes the tiles of a head durable, has witnesses cosign it, and writes it.
//!
//! It takes the newest head only. A slow disk or a witness that is away delays the heads outside, and never the
//! trail or a call.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    CHECKPOINT, FOLDER, Note, SignedHead,
    tiles::{TileFolder, Tiles, make_folder},
    witness::{Witness, WitnessProgress, WitnessStats},
};
use crate::{audit::settings::WitnessSettings, outbound::ClientSetupError, process::files};

/// Takes heads whose lines are in stable storage. The publisher ends when this is dropped.
pub(in crate::audit) type Heads = watch::Sender<Option<Arc<SignedHead>>>;

/// The running thread.
#[derive(Debug)]
pub(in crate::audit) struct HeadPublisher {
    ended: mpsc::Receiver<()>,
    closing: CancellationToken,
    witnesses: Vec<Arc<WitnessProgress>>,
}

impl HeadPublisher {
    /// Starts the thread. The tiles of a tree of `durable` leaves are in stable storage.
    pub(in crate::audit) fn start(
        directory: &Path,
        durable: u64,
        witnesses: &[WitnessSettings],
    ) -> Result<(Self, Heads), PublisherError> {
        let folder = directory.join(FOLDER);
        let witnesses = witnesses.iter().map(Witness::new).collect::<Result<Vec<_>, _>>()?;
        let progress = witnesses.iter().map(|witness| Arc::clone(witness.progress())).collect();
        let closing = CancellationToken::new();
        let publishing = Publishing {
            tiles: TileFolder::of(&folder),
            folder,
            durable,
            witnesses,
            closing: closing.clone(),
            failing: false,
        };
        let (heads, received) = watch::channel(None);
        let (ending, ended) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(PublisherError::Start)?;
        thread::Builder::new()
            .name("audit-heads".to_owned())
            .spawn(move || {
                runtime.block_on(publishing.run(received));
                drop(ending);
            })
            .map_err(PublisherError::Start)?;
        Ok((Self { ended, closing, witnesses: progress }, heads))
    }

    /// How the witnesses stand.
    pub(in crate::audit) fn witnesses(&self) -> Vec<WitnessStats> {
        self.witnesses.iter().map(|witness| witness.stats()).collect()
    }

    /// Waits until the last head is published, but not long. All [`Heads`] are dropped.
    pub(in crate::audit) fn finish(self) {
        self.closing.cancel();
        // The sender is only ever dropped.
        let _ended = self.ended.recv_timeout(2 * CLOSING_TIME);
    }
}

struct Publishing {
    folder: PathBuf,
    tiles: TileFolder,
    /// The size of the tree whose tiles are in stable storage.
    durable: u64,
    witnesses: Vec<Witness>,
    closing: CancellationToken,
    failing: bool,
}

impl Publishing {
    async fn run(mut self, mut heads: watch::Receiver<Option<Arc<SignedHead>>>) {
        while heads.changed().await.is_ok() {
            let Some(head) = heads.borrow_and_update().clone() else { continue };
            match self.publish(&head).await {
                Ok(()) => self.failing = false,
                Err(error) if self.failing => tracing::debug!(%error, "the head is not published"),
                Err(error) => {
                    self.failing = true;
                    tracing::error!(
                        %error,
                        "the head of the audit trail cannot be written; the next one is tried again"
                    );
                }
            }
        }
    }

    async fn publish(&mut self, head: &SignedHead) -> io::Result<()> {
        make_folder(&self.folder)?;
        self.tiles.sync(self.durable, &head.tree)?;
        self.durable = head.tree.size();
        let cosignatures = self.cosignatures(head).await;
        let note = [head.note.as_str(), &cosignatures].concat();
        files::publish(&self.folder.join(CHECKPOINT), note.as_bytes())
    }

    /// The signature lines of the witnesses that answer. When the trail closes, they get two seconds.
    async fn cosignatures(&mut self, head: &SignedHead) -> String {
        let mut lines = String::new();
        let Some(note) = Note::parse(&head.note) else { return lines };
        let tiles = Tiles::new(&self.tiles, &head.tree);
        let mut asked: FuturesUnordered<_> =
            self.witnesses.iter_mut().map(|witness| witness.cosign(head, &note, &tiles)).collect();
        let closing = self.closing.clone();
        let late = async move {
            closing.cancelled().await;
            tokio::time::sleep(CLOSING_TIME).await;
        };
        let mut late = std::pin::pin!(late);
        loop {
            tokio::select! {
                biased;
                answer = asked.next() => match answer {
                    Some(line) => lines.extend(line),
                    None => return lines,
                },
                () = &mut late => return lines,
            }
        }
    }
}

/// Why heads cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum PublisherError {
    /// The calls to a witness cannot be set up.
    #[error("the calls to a witness cannot be set up")]
    Client(#[from] ClientSetupError),
    /// The thread cannot be started.
    #[error("the publisher of heads cannot be started")]
    Start(#[source] io::Error),
}

/// How long witnesses have at the end.
const CLOSING_TIME: Duration = Duration::from_secs(2);
