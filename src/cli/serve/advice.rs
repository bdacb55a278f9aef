//! What to do about a gateway that does not start.

use std::{error::Error, io};

use crate::app::StartError;

/// One sentence, where there is one to say.
pub(super) fn about(error: &StartError) -> Option<&'static str> {
    match error {
        StartError::Tls(_) => Some(
            "`ca_file` of a profile names it: put the certificate there, change the key, or remove it \
             to trust this machine's roots",
        ),
        StartError::ListenerTls(_) => {
            Some("`[listeners.tls]` names it: put the file right, or change the key")
        }
        // These name their key themselves.
        StartError::Credentials(_) => None,
        StartError::Trail(error) => match cause(error)? {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Some(
                "let the user that runs the gateway write into `audit.directory`, or choose another",
            ),
            io::ErrorKind::StorageFull => {
                Some("make room on that disk; `audit.retain_bytes` bounds what the trail may take")
            }
            _ => None,
        },
        StartError::Bind(error) => match cause(error)? {
            io::ErrorKind::AddrInUse => Some(
                "another program listens there, perhaps another gateway: `ss -ltnp` says which; \
                 end it, or choose another `address`",
            ),
            io::ErrorKind::PermissionDenied => Some(
                "this user may not open it: choose a port above 1023 or a folder it may write in, \
                 or let systemd open the socket",
            ),
            io::ErrorKind::AddrNotAvailable => {
                Some("this machine does not have that address: `ip address` lists those it has")
            }
            io::ErrorKind::NotFound => Some("make the folder of the socket first"),
            _ => None,
        },
    }
}

/// What the system said at the bottom of it.
fn cause(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        next = error.source();
    }
    None
}
