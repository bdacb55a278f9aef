//! Listening sockets, and the connections they accept.
//!
//! A socket belongs to no runtime. A connection belongs to the one that accepted it, until it is detached
//! for another.

use std::{
    fs, io,
    net::{TcpListener as StdTcpListener, TcpStream as StdTcpStream},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, chown},
        net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
    },
    path::Path,
    pin::Pin,
    task::{Context, Poll},
};

use rustix::{
    fs::Mode,
    net::{AddressFamily, SocketAddrUnix, SocketType},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};

use crate::domain::{Address, Peer};

/// Who may connect to a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketAccess {
    /// The user of this process: mode 0600.
    Owner,
    /// Its group too: mode 0660. A group that is named is given the socket.
    Group(Option<u32>),
}

impl SocketAccess {
    fn mode(self) -> Mode {
        let owner = Mode::RUSR | Mode::WUSR;
        match self {
            Self::Owner => owner,
            Self::Group(_) => owner | Mode::RGRP | Mode::WGRP,
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct Bound {
    socket: BoundSocket,
    address: Address,
    owner: Owner,
}

#[derive(Debug)]
enum BoundSocket {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

/// Who opened a socket.
#[derive(Clone, Copy, Debug)]
enum Owner {
    /// Another process, which keeps it open and owns its file.
    Other,
    /// This process, with the file of a Unix socket.
    Own(Option<FileId>),
}

/// A file, whatever its name: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId(u64, u64);

impl FileId {
    fn of(path: &Path) -> io::Result<Self> {
        fs::symlink_metadata(path).map(|file| Self(file.dev(), file.ino()))
    }
}

impl Bound {
    /// Binds a socket; `access` is for a Unix socket. The file of a dead socket is replaced; a live socket is
    /// an error.
    pub fn bind(address: &Address, access: SocketAccess) -> Result<Self, BindError> {
        let failed = |source| BindError { address: address.clone(), source };
        match address {
            Address::Tcp(wanted) => {
                let listener = StdTcpListener::bind(wanted).map_err(failed)?;
                prepare(&listener).map_err(failed)?;
                let actual = listener.local_addr().map_err(failed)?;
                let socket = BoundSocket::Tcp(listener);
                Ok(Self { socket, address: Address::Tcp(actual), owner: Owner::Own(None) })
            }
            Address::Unix(path) => {
                let (listener, file) = bind_unix(path, access).map_err(failed)?;
                let socket = BoundSocket::Unix(listener);
                Ok(Self { socket, address: address.clone(), owner: Owner::Own(Some(file)) })
            }
        }
    }

    /// A TCP socket that another process opened.
    pub(super) fn inherit_tcp(listener: StdTcpListener) -> io::Result<Self> {
        prepare(&listener)?;
        let address = Address::Tcp(listener.local_addr()?);
        Ok(Self { socket: BoundSocket::Tcp(listener), address, owner: Owner::Other })
    }

    /// A Unix socket that another process opened.
    pub(super) fn inherit_unix(listener: StdUnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let path = address.as_pathname().map(Path::to_owned).unwrap_or_default();
        let address = Address::Unix(path);
        Ok(Self { socket: BoundSocket::Unix(listener), address, owner: Owner::Other })
    }

    /// The address, with the port that the kernel chose.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether another process opened it, and serves the connections in its queue after this one.
    pub fn is_inherited(&self) -> bool {
        matches!(self.owner, Owner::Other)
    }

    /// The same socket once more. It stays open until each of them is dropped.
    pub fn share(&self) -> Result<Self, BindError> {
        let failed = |source| BindError { address: self.address.clone(), source };
        let socket = match &self.socket {
            BoundSocket::Tcp(listener) => BoundSocket::Tcp(listener.try_clone().map_err(failed)?),
            BoundSocket::Unix(listener) => BoundSocket::Unix(listener.try_clone().map_err(failed)?),
        };
        Ok(Self { socket, address: self.address.clone(), owner: self.owner })
    }

    /// The socket once more, on the runtime that this is called on.
    pub(super) fn to_tokio(&self) -> io::Result<TokioSocket> {
        match &self.socket {
            BoundSocket::Tcp(listener) => {
                TcpListener::from_std(listener.try_clone()?).map(TokioSocket::Tcp)
            }
            BoundSocket::Unix(listener) => {
                UnixListener::from_std(listener.try_clone()?).map(TokioSocket::Unix)
            }
        }
    }

    /// Takes a connection that is in the kernel's queue already.
    pub(super) fn accept_queued(&self) -> io::Result<(CallerStream, Peer)> {
        match &self.socket {
            BoundSocket::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((DetachedStream::Tcp(stream).attach()?, Peer::Tcp(address)))
            }
            BoundSocket::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                let stream = UnixStream::from_std(stream)?;
                let user = user(&stream)?;
                Ok((CallerStream::Unix(stream), user))
            }
        }
    }

    /// Removes the file of a Unix socket of this process, so that no caller connects to a dead one. A file
    /// that another process has put in its place stays.
    pub fn unlink(&self) {
        if let (Address::Unix(path), Owner::Own(Some(file))) = (&self.address, self.owner)
            && FileId::of(path).is_ok_and(|now| now == file)
            && let Err(error) = fs::remove_file(path)
        {
            tracing::debug!(path = %path.display(), %error, "the socket's file cannot be removed");
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

fn bind_unix(path: &Path, access: SocketAccess) -> io::Result<(StdUnixListener, FileId)> {
    if let Ok(metadata) = fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path is no socket"));
        }
        if StdUnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it"));
        }
        fs::remove_file(path)?;
    }
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    // Linux creates the file with the mode of the socket, less the umask: at no moment with a wider one.
    #[cfg(target_os = "linux")]
    rustix::fs::fchmod(&socket, access.mode())?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    if let SocketAccess::Group(Some(group)) = access {
        chown(path, None, Some(group))?;
    }
    // Nobody can connect before the socket listens, and then it has its mode and group.
    rustix::fs::chmod(path, access.mode())?;
    let file = FileId::of(path)?;
    rustix::net::listen(&socket, BACKLOG)?;
    let listener = StdUnixListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok((listener, file))
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
pub(super) enum TokioSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl TokioSocket {
    /// Waits for a connection.
    pub(super) async fn accept(&self) -> io::Result<(CallerStream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((CallerStream::Tcp(stream), Peer::Tcp(address)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let user = user(&stream)?;
                Ok((CallerStream::Unix(stream), user))
            }
        }
    }
}

fn user(stream: &UnixStream) -> io::Result<Peer> {
    let user = stream.peer_cred()?;
    Ok(Peer::Unix { uid: user.uid(), gid: user.gid(), pid: user.pid() })
}

/// A connection between two runtimes.
#[derive(Debug)]
pub(super) enum DetachedStream {
    Tcp(StdTcpStream),
    Unix(StdUnixStream),
}

impl DetachedStream {
    /// The connection on the runtime that this is called on.
    pub(super) fn attach(self) -> io::Result<CallerStream> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream).map(CallerStream::Tcp),
            Self::Unix(stream) => UnixStream::from_std(stream).map(CallerStream::Unix),
        }
    }
}

/// A caller's connection.
#[derive(Debug)]
pub(super) enum CallerStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl CallerStream {
    /// The connection without a runtime.
    pub(super) fn detach(self) -> io::Result<DetachedStream> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(DetachedStream::Tcp),
            Self::Unix(stream) => stream.into_std().map(DetachedStream::Unix),
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

/// Connections that may wait in the kernel's queue; `net.core.somaxconn` bounds it as well.
pub(super) const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const ACCESS: SocketAccess = SocketAccess::Group(None);

    fn unix(path: &Path) -> Address {
        Address::Unix(path.to_owned())
    }

    #[tokio::test]
    async fn accepted_connections_have_nodelay() {
        let inherited = StdTcpListener::bind("127.0.0.1:0").unwrap();
        let bound = Bound::bind(&Address::Tcp("127.0.0.1:0".parse().unwrap()), ACCESS).unwrap();
        for bound in [bound, Bound::inherit_tcp(inherited).unwrap()] {
            let Address::Tcp(address) = bound.address().clone() else { panic!("TCP") };
            let _caller = StdTcpStream::connect(address).unwrap();
            let CallerStream::Tcp(stream) = bound.accept_queued().unwrap().0 else { panic!("TCP") };
            assert!(stream.nodelay().unwrap());
        }
    }

    #[tokio::test]
    async fn a_path_of_any_length_that_the_kernel_takes_is_bound_under_its_own_name() {
        let folder = tempfile::tempdir().unwrap();
        let room = 107 - folder.path().as_os_str().len() - 1;
        for length in [1, room - 7, room - 1, room] {
            let path = folder.path().join("s".repeat(length));
            let bound = Bound::bind(&unix(&path), ACCESS).unwrap();
            let BoundSocket::Unix(listener) = &bound.socket else { panic!("Unix") };
            assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(&*path));
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
            let _caller = StdUnixStream::connect(&path).unwrap();
            let uid = rustix::process::geteuid().as_raw();
            assert!(
                matches!(bound.accept_queued().unwrap().1, Peer::Unix { uid: user, .. } if user == uid)
            );
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no other name");
            bound.unlink();
        }
    }

    #[test]
    fn its_mode_and_group_say_who_may_connect() {
        let folder = tempfile::tempdir().unwrap();
        let own = rustix::process::getegid().as_raw();
        for (access, mode) in [
            (SocketAccess::Owner, 0o600),
            (SocketAccess::Group(None), 0o660),
            (SocketAccess::Group(Some(own)), 0o660),
        ] {
            let path = folder.path().join("socket");
            let _bound = Bound::bind(&unix(&path), access).unwrap();
            let file = fs::metadata(&path).unwrap();
            assert_eq!((file.mode() & 0o777, file.gid()), (mode, own), "{access:?}");
        }
        let path = folder.path().join("given");
        if Bound::bind(&unix(&path), SocketAccess::Group(Some(4242))).is_ok() {
            // Only root may give it to any group.
            assert_eq!(fs::metadata(&path).unwrap().gid(), 4242);
        }
    }

    #[test]
    fn a_live_socket_stays_and_a_dead_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let first = Bound::bind(&unix(&path), ACCESS).unwrap();
        assert!(Bound::bind(&unix(&path), ACCESS).is_err());
        drop(first);
        Bound::bind(&unix(&path), ACCESS).unwrap();
    }

    #[test]
    fn only_the_file_of_its_own_socket_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let first = Bound::bind(&unix(&path), ACCESS).unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        let second = Bound::bind(&unix(&path), ACCESS).unwrap();
        first.unlink();
        assert!(path.exists());
        second.unlink();
        assert!(!path.exists());
    }
}
