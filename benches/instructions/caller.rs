//! Calls the gateway, one call after the other on one connection.

use std::{
    fmt,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::{
    failure::{During as _, Failure},
    upstream::{Arrived, CREATED, SUBTENANT, new_object},
    workplace::{CACHED, CREATED_AT, PROXIED},
};

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A read that is answered from memory.
    Cached,
    /// A read that goes to the upstream.
    Proxied,
    /// A body of 1 KB that goes to the upstream.
    Created,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cached, Self::Proxied, Self::Created];

    /// Its name in expected.toml.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Proxied => "proxied",
            Self::Created => "created",
        }
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
            Self::Cached => ("GET", CACHED),
            Self::Proxied => ("GET", PROXIED),
            Self::Created => ("POST", CREATED_AT),
        }
    }

    fn body(self) -> String {
        match self {
            Self::Cached | Self::Proxied => String::new(),
            Self::Created => new_object(),
        }
    }

    /// What is sent.
    fn request(self) -> String {
        let ((method, target), body) = (self.line(), self.body());
        let framing = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
        };
        format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n{body}")
    }

    /// What the answer's body is.
    fn answer(self) -> &'static str {
        match self {
            Self::Cached | Self::Proxied => SUBTENANT,
            Self::Created => CREATED,
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A connection to the gateway.
#[derive(Debug)]
pub struct Caller {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Caller {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address)
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .and_then(|stream| stream.set_read_timeout(Some(PATIENCE)).map(|()| stream))
            .during("cannot connect to the gateway")?;
        Ok(Self { stream, answer: Vec::new() })
    }

    /// Makes one call and looks at its answer.
    pub fn call(&mut self, call: Call) -> Result<(), Failure> {
        self.stream.write_all(call.request().as_bytes()).during("cannot send a call")?;
        self.answer.clear();
        let body = call.answer().as_bytes();
        let mut piece = [0; 8192];
        while !self.answer.ends_with(body) {
            let read = self.stream.read(&mut piece).during(format_args!(
                "a {call} call got no whole answer: {}",
                String::from_utf8_lossy(&self.answer)
            ))?;
            if read == 0 {
                return Err(Failure::new("the gateway closed the connection"));
            }
            self.answer.extend(piece.iter().take(read));
        }
        Ok(())
    }
}

/// How long an answer may take under callgrind, which is slow.
const PATIENCE: Duration = Duration::from_mins(1);
