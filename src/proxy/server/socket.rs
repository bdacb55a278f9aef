//! Listening sockets, which are bound once and shared by all workers, and the connections they accept.

use std::{
    fs, io,
    net::TcpListener as StdTcpListener,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{
            fs::{FileTypeExt as _, PermissionsExt as _},
            net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
        },
    },
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};

use crate::{
    domain::Address,
    proxy::{batched_io, call::Peer},
};

/// A bound socket outside a runtime.
#[derive(Debug)]
pub struct Bound {
    socket: BoundSocket,
    address: Address,
    /// Opened by another process, which owns its file.
    inherited: bool,
}

#[derive(Debug)]
enum BoundSocket {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

impl Bound {
    /// Binds a socket. A Unix socket gets `mode`. The file of a dead socket is replaced; a live socket is
    /// an error.
    pub fn bind(address: &Address, mode: u32) -> Result<Self, BindError> {
        let failed = |source| BindError { address: address.clone(), source };
        match address {
            Address::Tcp(wanted) => {
                let listener = StdTcpListener::bind(wanted).map_err(failed)?;
                prepare(&listener).map_err(failed)?;
                let actual = listener.local_addr().map_err(failed)?;
                let socket = BoundSocket::Tcp(listener);
                Ok(Self { socket, address: Address::Tcp(actual), inherited: false })
            }
            Address::Unix(path) => {
                let listener = bind_unix(path, mode).map_err(failed)?;
                let socket = BoundSocket::Unix(listener);
                Ok(Self { socket, address: address.clone(), inherited: false })
            }
        }
    }

    /// A TCP socket that another process opened.
    pub(super) fn inherit_tcp(listener: StdTcpListener) -> io::Result<Self> {
        prepare(&listener)?;
        let address = Address::Tcp(listener.local_addr()?);
        Ok(Self { socket: BoundSocket::Tcp(listener), address, inherited: true })
    }

    /// A Unix socket that another process opened.
    pub(super) fn inherit_unix(listener: StdUnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let path = address.as_pathname().map(Path::to_owned).unwrap_or_default();
        Ok(Self {
            socket: BoundSocket::Unix(listener),
            address: Address::Unix(path),
            inherited: true,
        })
    }

    /// The address, with the port that the kernel chose.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The same socket for another worker.
    pub fn share(&self) -> Result<Self, BindError> {
        let failed = |source| BindError { address: self.address.clone(), source };
        let socket = match &self.socket {
            BoundSocket::Tcp(listener) => BoundSocket::Tcp(listener.try_clone().map_err(failed)?),
            BoundSocket::Unix(listener) => BoundSocket::Unix(listener.try_clone().map_err(failed)?),
        };
        Ok(Self { socket, address: self.address.clone(), inherited: self.inherited })
    }

    /// The socket on the runtime that this is called on.
    pub fn into_tokio(self) -> io::Result<TokioSocket> {
        match self.socket {
            BoundSocket::Tcp(listener) => TcpListener::from_std(listener).map(TokioSocket::Tcp),
            BoundSocket::Unix(listener) => UnixListener::from_std(listener).map(TokioSocket::Unix),
        }
    }

    /// Removes the file of a Unix socket, so that no caller connects to a dead one.
    pub fn unlink(&self) {
        if let Address::Unix(path) = &self.address
            && !self.inherited
            && let Err(error) = fs::remove_file(path)
        {
            tracing::debug!(path = %path.display(), %error, "the socket's file is gone already");
        }
    }
}

/// Sets the options for a runtime, and `TCP_NODELAY`. On Linux an accepted connection inherits it, which
/// saves a system call.
fn prepare(listener: &StdTcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    rustix::net::sockopt::set_tcp_nodelay(listener, true)?;
    Ok(())
}

fn bind_unix(path: &PathBuf, mode: u32) -> io::Result<StdUnixListener> {
    if let Ok(metadata) = fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path is no socket"));
        }
        if StdUnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it"));
        }
        fs::remove_file(path)?;
    }
    // Bound under another name and moved into place when its mode is set, so that no caller can connect
    // with a wider mode.
    let staging = staging_path(path);
    drop(fs::remove_file(&staging));
    let listener = StdUnixListener::bind(&staging)?;
    fs::set_permissions(&staging, fs::Permissions::from_mode(mode))?;
    fs::rename(&staging, path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn staging_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    path.with_file_name(name)
}

/// A socket that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    address: Address,
    #[source]
    source: io::Error,
}

/// A socket on one runtime.
#[derive(Debug)]
pub enum TokioSocket {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl TokioSocket {
    pub(super) async fn accept(&self) -> io::Result<(CallerStream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((CallerStream::Tcp(stream), Peer::Tcp(address)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let peer = stream.peer_cred()?;
                let peer = Peer::Unix { uid: peer.uid(), gid: peer.gid(), pid: peer.pid() };
                Ok((CallerStream::Unix(stream), peer))
            }
        }
    }
}

/// A caller's connection.
#[derive(Debug)]
pub(super) enum CallerStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsFd for CallerStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl batched_io::Socket for CallerStream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    fn try_read<R>(&self, read: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, read),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, read),
        }
    }
}

impl AsyncRead for CallerStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for CallerStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, data),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, data),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_connections_have_nodelay() {
        let inherited = StdTcpListener::bind("127.0.0.1:0").unwrap();
        let bound = Bound::bind(&Address::Tcp("127.0.0.1:0".parse().unwrap()), 0o600).unwrap();
        for bound in [bound, Bound::inherit_tcp(inherited).unwrap()] {
            let Address::Tcp(address) = bound.address().clone() else { panic!("TCP") };
            let socket = bound.into_tokio().unwrap();
            let (accepted, _caller) = tokio::join!(socket.accept(), TcpStream::connect(address));
            let (CallerStream::Tcp(stream), _) = accepted.unwrap() else { panic!("TCP") };
            assert!(stream.nodelay().unwrap());
        }
    }
}
