//! `pigello-gateway`: an authenticating reverse proxy in front of Pigello's Core API.

pub mod body;
pub mod cli {
    //! The commands.
    pub mod mock_upstream;
}
pub mod credentials;
pub mod domain;
pub mod error;
pub mod mock;
pub mod secret;
