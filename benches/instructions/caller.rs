//! Calls the gateway, one call after the other: on one connection, or each on a new one.

use std::{
    fmt,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::{
    failure::{During as _, Failure},
    template::MEMBER,
    upstream::{Arrived, CREATED, SUBTENANT, new_object},
    workplace::{CACHED, CREATED_AT, PROXIED},
};

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A read that is answered from memory.
    Cached,
    /// The same on a new connection, which ends with it.
    Connected,
    /// A read that goes to the upstream.
    Proxied,
    /// A body of 1 KB that goes to the upstream.
    Created,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cached, Self::Connected, Self::Proxied, Self::Created];

    /// Its name in expected.toml.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Connected => "connected",
            Self::Proxied => "proxied",
            Self::Created => "created",
        }
    }

    /// Whether it goes to the upstream.
    pub fn leaves(self) -> bool {
        matches!(self, Self::Proxied | Self::Created)
    }

    /// Whether this is how it has to arrive upstream: as it was sent, with the credentials.
    pub fn is(self, arrived: &Arrived) -> bool {
        let (method, target) = self.line();
        arrived.method.as_str() == method
            && arrived.target == target
            && arrived.body == self.body()
            && arrived.lacks().is_none()
    }

    fn line(self) -> (&'static str, &'static str) {
        match self {
            Self::Cached | Self::Connected => ("GET", CACHED),
            Self::Proxied => ("GET", PROXIED),
            Self::Created => ("POST", CREATED_AT),
        }
    }

    fn body(self) -> String {
        match self {
            Self::Cached | Self::Connected | Self::Proxied => String::new(),
            Self::Created => new_object(),
        }
    }

    /// What is sent.
    fn request(self, kind: Kind) -> String {
        let ((method, target), body) = (self.line(), self.body());
        let framing = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
        };
        let profile = match kind {
            Kind::Fixed | Kind::Member | Kind::InFleet(_) => String::new(),
            Kind::Named => format!("Pigello-Gateway-Profile: {MEMBER}\r\n"),
        };
        let close = if self == Self::Connected { "Connection: close\r\n" } else { "" };
        format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\n{profile}{framing}{close}\r\n{body}"
        )
    }

    /// What the answer's body is.
    fn answer(self) -> &'static str {
        match self {
            Self::Cached | Self::Connected | Self::Proxied => SUBTENANT,
            Self::Created => CREATED,
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kind of profile that calls are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One with a table of its own, which the listener names.
    Fixed,
    /// A member of a template, which the listener names.
    Member,
    /// A member of a template, which each call names.
    Named,
    /// One with a table of its own, in a gateway of a fleet with that store.
    InFleet(SocketAddr),
}

/// A caller of the gateway, with the connection it keeps.
#[derive(Debug)]
pub struct Caller {
    address: SocketAddr,
    kind: Kind,
    kept: Option<TcpStream>,
    answer: Vec<u8>,
}

impl Caller {
    /// Calls the gateway there.
    pub fn new(address: SocketAddr, kind: Kind) -> Self {
        Self { address, kind, kept: None, answer: Vec::new() }
    }

    /// Makes one call and looks at its answer.
    pub fn call(&mut self, call: Call) -> Result<(), Failure> {
        let mut stream = match self.kept.take() {
            Some(kept) if call != Call::Connected => kept,
            _ => open(self.address)?,
        };
        stream.write_all(call.request(self.kind).as_bytes()).during("cannot send a call")?;
        self.answer.clear();
        let body = call.answer().as_bytes();
        let mut piece = [0; 8192];
        while !self.answer.ends_with(body) {
            let read = stream.read(&mut piece).during(format_args!(
                "a {call} call got no whole answer: {}",
                String::from_utf8_lossy(&self.answer)
            ))?;
            if read == 0 {
                return Err(Failure::new("the gateway closed the connection"));
            }
            self.answer.extend(piece.iter().take(read));
        }
        if call != Call::Connected {
            self.kept = Some(stream);
        } else if stream.read(&mut piece).during("the gateway did not end its connection")? > 0 {
            return Err(Failure::new("the gateway sent more than its answer"));
        }
        Ok(())
    }
}

fn open(address: SocketAddr) -> Result<TcpStream, Failure> {
    TcpStream::connect(address)
        .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
        .and_then(|stream| stream.set_read_timeout(Some(PATIENCE)).map(|()| stream))
        .during("cannot connect to the gateway")
}

/// How long an answer may take under callgrind, which is slow.
const PATIENCE: Duration = Duration::from_mins(1);
