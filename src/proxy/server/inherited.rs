//! Sockets from systemd's socket activation.
//!
//! systemd keeps them open while this process is replaced, so connections wait in the kernel's queue
//! and none is refused. A socket belongs to the listener that has its address.

use std::{fmt, io};

use listenfd::ListenFd;

use super::socket::Bound;
use crate::domain::Address;

/// The inherited sockets that no listener has taken.
#[derive(Default)]
pub struct Inherited(Vec<Bound>);

impl Inherited {
    /// No sockets.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// The sockets in `LISTEN_FDS`.
    pub fn from_environment() -> io::Result<Self> {
        let mut handed = ListenFd::from_env();
        let mut sockets = Vec::with_capacity(handed.len());
        for index in 0..handed.len() {
            if let Ok(Some(listener)) = handed.take_tcp_listener(index) {
                sockets.push(Bound::inherit_tcp(listener)?);
            } else if let Some(listener) = handed.take_unix_listener(index)? {
                sockets.push(Bound::inherit_unix(listener)?);
            }
        }
        Ok(Self(sockets))
    }

    /// Takes the socket with this address.
    pub fn take(&mut self, address: &Address) -> Option<Bound> {
        let at = self.0.iter().position(|bound| bound.address() == address)?;
        Some(self.0.swap_remove(at))
    }

    /// The addresses of the sockets that no listener has taken.
    pub fn left(&self) -> impl Iterator<Item = &Address> {
        self.0.iter().map(Bound::address)
    }
}

impl fmt::Debug for Inherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.left()).finish()
    }
}
