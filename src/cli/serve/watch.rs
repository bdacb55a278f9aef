//! Watches the configuration files for changes.
//!
//! It compares their contents periodically instead of using inotify. That also notices a Kubernetes
//! `ConfigMap` whose directory was swapped, a bind mount, an editor that renames a new file into
//! place, and a file that was missing.

use std::{path::PathBuf, time::Duration};

/// The contents of the files when they were last used.
#[derive(Debug)]
pub(super) struct Watch {
    paths: Vec<PathBuf>,
    known: Contents,
}

/// The content of each file; `None` if it cannot be read.
type Contents = Vec<Option<Vec<u8>>>;

impl Watch {
    /// Takes the current contents as used.
    pub(super) async fn begin(paths: Vec<PathBuf>) -> Self {
        let known = read(&paths).await;
        Self { paths, known }
    }

    /// Takes the current contents as used: a reload is about to read them.
    pub(super) async fn take(&mut self) {
        self.known = read(&self.paths).await;
    }

    /// Returns when the contents have changed and stayed the same for two looks: a file that is
    /// being written is complete by then.
    pub(super) async fn changed(&mut self) {
        let mut last = self.known.clone();
        loop {
            tokio::time::sleep(EVERY).await;
            let now = read(&self.paths).await;
            if now == last && now != self.known {
                self.known = now;
                return;
            }
            last = now;
        }
    }
}

async fn read(paths: &[PathBuf]) -> Contents {
    let mut contents = Vec::with_capacity(paths.len());
    for path in paths {
        contents.push(tokio::fs::read(path).await.ok());
    }
    contents
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
        watch.take().await;
        assert!(tokio::time::timeout(EVERY * 10, watch.changed()).await.is_err(), "read already");
    }
}
