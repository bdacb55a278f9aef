//! The vault source against a stub that misbehaves on purpose, and against a real OpenBao.

mod faults;
mod logins;
mod openbao;
mod rotation;
mod server;
mod stub;

use std::fs;

use self::server::Server;
use super::{TokenSource, Vault, VaultAuth, VaultError};
use crate::{
    credentials::{
        CredentialSet, Identifiers,
        source::{Asked, Cause},
    },
    error::Chain,
};

async fn read(vault: &Vault) -> Result<CredentialSet, VaultError> {
    vault.read(&Identifiers::new(), Asked::Routine).await
}

async fn version(vault: &Vault) -> String {
    read(vault).await.unwrap().version().to_string()
}

async fn failure(vault: &Vault) -> (Cause, String) {
    let error = read(vault).await.unwrap_err();
    (error.cause(), Chain(&error).to_string())
}

fn token(server: &Server) -> VaultAuth {
    let file = server.root.path().join("token");
    fs::write(&file, "made-up-root-token").unwrap();
    VaultAuth::Token(TokenSource::File(file))
}
