//! One connection to the store: where the primary is, TCP or a Unix socket, TLS, the login.
//!
//! TLS is the gateway's own, as for every other server. Files are read for each connection, so that renewed
//! certificates and passwords need no restart.

use std::{
    collections::HashMap,
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue, ProtocolVersion, PushInfo, PushKind,
    RedisConnectionInfo, Value, aio::MultiplexedConnection,
};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader, ReadBuf},
    net::{TcpStream, UnixStream},
    sync::mpsc::{self, error::TrySendError},
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::{error::StoreError, settings::StoreSettings};
use crate::{
    domain::{Span, StoreAddress},
    outbound::{
        Resolver, Trust, client_tls,
        race::{Dial, Finish, race},
    },
    process::files::read_closed,
    secret::SecretText,
};

/// Makes connections to the store.
#[derive(Debug)]
pub(super) struct Connector {
    settings: StoreSettings,
    /// A store of a model, in place of the one of the settings.
    #[cfg(test)]
    pub(super) model: std::sync::OnceLock<super::testing::Way>,
}

/// A connection, and what the server says of itself.
pub(super) struct Connection {
    pub(super) asker: Asker,
    /// Where it leads.
    pub(super) place: StoreAddress,
    pub(super) server: Server,
    /// What comes over the channel that is subscribed to.
    inbox: mpsc::Receiver<Vec<u8>>,
    _driver: AbortOnDropHandle<()>,
}

/// Sends commands over a connection. Its clones share it, and none keeps it open.
#[derive(Clone)]
pub(super) struct Asker {
    commands: MultiplexedConnection,
    /// The bytes since the last answer.
    brought: Arc<AtomicUsize>,
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `valkey` or `redis`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// As whom to log in.
struct Login {
    username: Option<String>,
    password: Option<SecretText>,
    database: u16,
}

impl Connector {
    pub(super) fn new(settings: StoreSettings) -> Self {
        Self {
            settings,
            #[cfg(test)]
            model: std::sync::OnceLock::new(),
        }
    }

    /// Reads the files that a connection needs, to find out whether it can.
    pub(super) fn check_files(&self) -> Result<(), StoreError> {
        self.tls()?;
        self.login()?;
        self.sentinel_login().map(drop)
    }

    /// Connects to the primary.
    pub(super) async fn connect(&self) -> Result<Connection, StoreError> {
        #[cfg(test)]
        if let Some(model) = self.model.get() {
            return Connection::over(model.open()?).await;
        }
        let place = match &self.settings.address {
            Some(address) => address.clone(),
            None => self.primary().await?,
        };
        let connection = self.open(place, &self.login()?, STORE_PORT, ATTEMPT).await?;
        let (connection, role) = connection;
        if role == "master" { Ok(connection) } else { Err(StoreError::Replica) }
    }

    /// Waits until the sentinels, if there are any, name another server than that one. A primary that they have left
    /// may not know.
    pub(super) async fn moved(&self, place: &StoreAddress) -> StoreError {
        if self.settings.sentinels.is_empty() {
            return std::future::pending().await;
        }
        loop {
            sleep(SENTINEL_LOOK).await;
            if self.primary().await.is_ok_and(|primary| primary != *place) {
                return StoreError::Moved;
            }
        }
    }

    /// Asks one sentinel after the other where the primary is.
    async fn primary(&self) -> Result<StoreAddress, StoreError> {
        let service = self.settings.service.as_deref().unwrap_or_default();
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
        let mut last = None;
        // Each gateway begins with another one.
        let mut sentinels = self.settings.sentinels.clone();
        fastrand::shuffle(&mut sentinels);
        for sentinel in sentinels {
            let asked = async {
                let login = self.sentinel_login()?;
                let (mut sentinel, _) =
                    self.open(sentinel, &login, SENTINEL_PORT, SENTINEL_ATTEMPT).await?;
                sentinel.ask::<Option<(String, u16)>>(&question).await
            };
            match asked.await {
                Ok(Some((host, port))) => {
                    return Ok(StoreAddress::Tcp { host: host.into(), port: Some(port) });
                }
                Ok(None) => {}
                Err(error) => last = Some(Box::new(error)),
            }
        }
        Err(StoreError::NoPrimary(last))
    }

    /// Opens a connection, and returns it with the role of the server.
    async fn open(
        &self,
        place: StoreAddress,
        login: &Login,
        port: u16,
        limit: Duration,
    ) -> Result<(Connection, String), StoreError> {
        let opened = async {
            let stream: Box<dyn Transport> = match &place {
                StoreAddress::Unix(path) => {
                    Box::new(UnixStream::connect(path).await.map_err(StoreError::Connect)?)
                }
                StoreAddress::Tcp { host, port: named } => {
                    let tls = self.tls()?;
                    dial(Host { host, tls }, named.unwrap_or(port), limit).await?
                }
            };
            Connection::start(stream, place.clone(), login).await
        };
        timeout(limit, opened).await.unwrap_or(Err(StoreError::TooSlow(Span(limit))))
    }

    fn tls(&self) -> Result<Option<TlsConnector>, StoreError> {
        if !self.settings.is_tls() {
            return Ok(None);
        }
        let trust = Trust::Roots(self.settings.ca_file.as_deref());
        let config = client_tls(trust, self.settings.client_certificate().as_ref())?;
        Ok(Some(TlsConnector::from(Arc::new(config))))
    }

    fn login(&self) -> Result<Login, StoreError> {
        let StoreSettings { username, password_file, database, .. } = &self.settings;
        let password = password_file.as_deref().map(password).transpose()?;
        Ok(Login { username: username.clone(), password, database: *database })
    }

    fn sentinel_login(&self) -> Result<Login, StoreError> {
        let StoreSettings { sentinel_username, sentinel_password_file, .. } = &self.settings;
        let password = sentinel_password_file.as_deref().map(password).transpose()?;
        Ok(Login { username: sentinel_username.clone(), password, database: 0 })
    }
}

fn password(path: &std::path::Path) -> Result<SecretText, StoreError> {
    SecretText::parse(&read_closed(path)?).map_err(|error| StoreError::no_password(path, error))
}

/// Connects to a host, whichever of its addresses answers.
async fn dial(
    host: Host<'_>,
    port: u16,
    limit: Duration,
) -> Result<Box<dyn Transport>, StoreError> {
    let resolver = Resolver::system();
    let addresses = resolver.resolve(host.host, limit).await?;
    let addresses: Vec<_> = addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
    let Finish { winner, losers } = race(&host, &addresses, limit).await;
    for loser in losers {
        resolver.demote(host.host, loser.ip());
    }
    let no_address = || Err(StoreError::Connect(io::ErrorKind::AddrNotAvailable.into()));
    let winner = winner.unwrap_or_else(no_address);
    let (stream, address) = winner.inspect_err(|_| resolver.expire(host.host))?;
    resolver.promote(host.host, address.ip());
    Ok(stream)
}

/// A host, by its name or address.
struct Host<'a> {
    host: &'a str,
    tls: Option<TlsConnector>,
}

impl Dial for Host<'_> {
    type Stream = TcpStream;
    type Connection = Box<dyn Transport>;
    type Error = StoreError;

    async fn open(&self, address: SocketAddr) -> Result<TcpStream, StoreError> {
        if self.tls.is_none() && !address.ip().is_loopback() {
            return Err(StoreError::Plain(address.ip()));
        }
        let stream = TcpStream::connect(address).await.map_err(StoreError::Connect)?;
        stream.set_nodelay(true).map_err(StoreError::Connect)?;
        Ok(stream)
    }

    async fn secure(&self, stream: TcpStream) -> Result<Box<dyn Transport>, StoreError> {
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(self.host.to_owned()).map_err(io::Error::other);
        let name = name.map_err(StoreError::Connect)?;
        let stream = tls.connect(name, stream).await.map_err(StoreError::of_handshake)?;
        Ok(Box::new(stream))
    }

    fn too_slow(address: SocketAddr) -> StoreError {
        let text = format!("connecting to {address} took too long");
        StoreError::Connect(io::Error::new(io::ErrorKind::TimedOut, text))
    }
}

impl Connection {
    /// Logs in, and returns the connection with the role of the server.
    async fn start(
        stream: Box<dyn Transport>,
        place: StoreAddress,
        login: &Login,
    ) -> Result<(Self, String), StoreError> {
        let mut info = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(login.database.into())
            .set_skip_set_lib_name();
        if let Some(username) = &login.username {
            info = info.set_username(username);
        }
        if let Some(password) = &login.password {
            info = password.expose_to(|password| info.set_password(password));
        }
        let brought = Arc::<AtomicUsize>::default();
        let stream = BufReader::with_capacity(READ, stream);
        let stream = Metered { stream, brought: Arc::clone(&brought) };
        let (pushes, inbox) = mpsc::channel(INBOX);
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(*ANSWER))
            .set_push_sender(move |push| take_push(&pushes, push));
        let started = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (commands, driver) = started.map_err(|error| StoreError::of_command(&error, ANSWER))?;
        let driver = AbortOnDropHandle::new(tokio::spawn(driver));
        let server = Server { name: String::new(), version: String::new() };
        let asker = Asker { commands, brought };
        let mut connection = Self { asker, place, server, inbox, _driver: driver };
        let said: HashMap<String, Value> = connection.ask(&redis::cmd("HELLO")).await?;
        let [name, version, role] = ["server", "version", "role"].map(|key| {
            let value = said.get(key).cloned().map(redis::from_redis_value::<String>);
            // Into the log and the status, whatever it is.
            let value = value.and_then(Result::ok).unwrap_or_default();
            value.chars().filter(char::is_ascii_graphic).take(32).collect::<String>()
        });
        connection.server = Server { name, version };
        Ok((connection, role))
    }

    /// Sends a command and waits for the answer.
    pub(super) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, StoreError> {
        self.asker.ask(command).await
    }
}

#[cfg(test)]
impl Connection {
    /// A connection over a stream that leads to a store.
    async fn over(stream: tokio::io::DuplexStream) -> Result<Self, StoreError> {
        let login = Login { username: None, password: None, database: 0 };
        let place = "unix:/model".parse().unwrap();
        let (connection, _) = Self::start(Box::new(stream), place, &login).await?;
        Ok(connection)
    }
}

impl Asker {
    /// Sends a command and waits for the answer.
    pub(super) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, StoreError> {
        let answer = command.query_async(&mut self.commands).await;
        self.brought.store(0, Ordering::Relaxed);
        answer.map_err(|error| StoreError::of_command(&error, ANSWER))
    }
}

impl Connection {
    /// Subscribes to a channel.
    pub(super) async fn subscribe(&mut self, channel: &str) -> Result<(), StoreError> {
        let subscribed = self.asker.commands.subscribe(channel).await;
        subscribed.map_err(|error| StoreError::of_command(&error, ANSWER))
    }

    /// Waits for a message of the channel. It waits for ever when the connection has ended, which the next command
    /// tells.
    pub(super) async fn heard(&mut self) -> Vec<u8> {
        match self.inbox.recv().await {
            Some(message) => message,
            None => std::future::pending().await,
        }
    }
}

/// Takes a message of a channel. One that finds no room is lost, as any message of a channel may be.
fn take_push(inbox: &mpsc::Sender<Vec<u8>>, push: PushInfo) -> Result<(), TrySendError<Vec<u8>>> {
    match (push.kind, push.data.into_iter().nth(1)) {
        (PushKind::Message, Some(Value::BulkString(message))) => inbox.try_send(message),
        _ => Ok(()),
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.place)
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asker")
    }
}

impl Server {
    /// Whether it is as new as the fleet needs it: Valkey 8, Redis 7.
    pub fn is_new_enough(&self) -> bool {
        let major = self.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        major.is_some_and(|major| major >= if self.name == "valkey" { 8 } else { 7 })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// TCP, TLS or a Unix socket.
trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Transport for S {}

/// Ends a connection that brings much and answers nothing, because redis-rs keeps an answer until it is whole.
struct Metered<S> {
    /// redis-rs reads 8 KiB at a time, which is two entries.
    stream: BufReader<S>,
    /// The bytes since the last answer.
    brought: Arc<AtomicUsize>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let new = buffer.filled().len().saturating_sub(before);
        let brought = self.brought.fetch_add(new, Ordering::Relaxed).saturating_add(new);
        if brought > MOST_UNANSWERED {
            return Poll::Ready(Err(io::Error::other("too much without an answer")));
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

const STORE_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// How long a connection may take, with name, handshake and login.
const ATTEMPT: Duration = Duration::from_secs(5);
/// The same for a sentinel. There are others.
const SENTINEL_ATTEMPT: Duration = Duration::from_secs(2);
/// The time between two questions to the sentinels.
const SENTINEL_LOOK: Duration = Duration::from_secs(10);
/// The messages that may wait here, of 16 KiB at most.
const INBOX: usize = 1024;
/// How long a command may take. One that takes longer ends the connection.
const ANSWER: Span = Span::from_secs(2);
/// As much is read from a connection at a time.
const READ: usize = 32 * 1024;
/// Answers and notices of a second are a tenth of it.
const MOST_UNANSWERED: usize = 64 * 1024 * 1024;
