//! Watches the configuration files for changes.
//!
//! It compares their contents periodically instead of using inotify. That also notices a Kubernetes
//! `ConfigMap` whose directory was swapped, a bind mount, an editor that renames a new file into
//! place, and a file that was missing.

use std::{path::PathBuf, time::Duration};

use super::reads::Reads;
use crate::process::files::read_named;

/// The contents of the files when they were last used.
#[derive(Debug)]
pub(super) struct Watch {
    paths: Vec<PathBuf>,
    known: Contents,
    /// One at a time, so that a mount that does not answer holds one thread.
    reads: Reads,
}

/// The content of each file; `None` if it cannot be read.
pub(super) type Contents = Vec<Option<Vec<u8>>>;

impl Watch {
    /// Takes the current contents as used.
    pub(super) async fn begin(paths: Vec<PathBuf>) -> Self {
        let mut watch = Self { paths, known: Contents::new(), reads: Reads::at_most(1) };
        watch.known = watch.look().await.unwrap_or_default();
        watch
    }

    /// Takes these contents as used: a reload has read them.
    pub(super) fn take(&mut self, contents: Contents) {
        self.known = contents;
    }

    /// Returns when the contents have changed and stayed the same for two looks: a file that is
    /// being written is complete by then.
    pub(super) async fn changed(&mut self) {
        let mut last = self.known.clone();
        loop {
            tokio::time::sleep(EVERY).await;
            let Some(now) = self.look().await else { continue };
            if now == last && now != self.known {
                self.known = now;
                return;
            }
            last = now;
        }
    }

    /// The contents now; `None` if a file does not answer.
    async fn look(&self) -> Option<Contents> {
        let paths = self.paths.clone();
        self.reads.run(move || read(&paths)).await
    }
}

/// Reads the files.
pub(super) fn read(paths: &[PathBuf]) -> Contents {
    paths.iter().map(|path| read_named(path).ok()).collect()
}

const EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sees_a_file_written_anew_and_a_folder_exchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for version in ["one", "two"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("gateway.toml"), version).unwrap();
        }
        symlink(path("one"), path("..data")).unwrap();
        let mut watch = Watch::begin(vec![path("..data").join("gateway.toml")]).await;
        assert!(
            tokio::time::timeout(EVERY * 10, watch.changed()).await.is_err(),
            "nothing changed"
        );
        symlink(path("two"), path("next")).unwrap();
        fs::rename(path("next"), path("..data")).unwrap();
        watch.changed().await;
        fs::write(path("two").join("gateway.toml"), "three").unwrap();
        watch.changed().await;
        assert!(tokio::time::timeout(EVERY * 10, watch.changed()).await.is_err(), "told once");
        fs::write(path("two").join("gateway.toml"), "four").unwrap();
        watch.take(read(&[path("two").join("gateway.toml")]));
        assert!(tokio::time::timeout(EVERY * 10, watch.changed()).await.is_err(), "read already");
    }
}
