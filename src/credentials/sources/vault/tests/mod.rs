//! The vault source against a stub that misbehaves on purpose, and against a real OpenBao.

mod crowd;
mod faults;
mod keys;
mod logins;
mod openbao;
mod rotation;
mod server;
mod stub;

use std::{fs, sync::Arc};

use self::server::Server;
use super::{VaultError, VaultSource};
use crate::{
    credentials::{
        CredentialSet, Identifiers,
        settings::{TokenSource, VaultAuth},
        sources::{RefreshReason, SourceFailure},
    },
    error::Chain,
};

async fn read(vault: &VaultSource) -> Result<CredentialSet, Arc<VaultError>> {
    vault.read(&Identifiers::new(), RefreshReason::Scheduled).await
}

async fn version(vault: &VaultSource) -> String {
    read(vault).await.unwrap().version().to_string()
}

async fn failure(vault: &VaultSource) -> (SourceFailure, String) {
    let error = read(vault).await.unwrap_err();
    (error.meaning(), Chain(&*error).to_string())
}

fn token(server: &Server) -> VaultAuth {
    let file = server.root.path().join("token");
    fs::write(&file, "made-up-root-token").unwrap();
    VaultAuth::Token(TokenSource::File(file))
}
