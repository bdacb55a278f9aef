//! One call at a time over a blocking socket: for the checks, and for the fixed rate.

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;

use super::failure::{During as _, Failure};

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, String::from_utf8_lossy(&self.body))
    }
}

/// A kept connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: Vec::with_capacity(8192) })
    }

    /// Sends one request, and reads its answer by its `Content-Length`.
    pub fn call(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request)?;
        self.buffer.clear();
        let mut piece = [0; 16 * 1024];
        loop {
            let read = self.stream.read(&mut piece)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend(piece.iter().take(read));
            if let Some(answer) = whole(&self.buffer)? {
                return Ok(answer);
            }
        }
    }
}

/// A GET on a connection of its own. `fields` are whole lines.
pub fn get(address: SocketAddr, target: &str, fields: &str) -> Result<Answer, Failure> {
    send(address, "GET", target, fields, "")
}

/// A call with a body, if it is not empty, on a connection of its own.
pub fn send(
    address: SocketAddr,
    method: &str,
    target: &str,
    fields: &str,
    body: &str,
) -> Result<Answer, Failure> {
    Connection::open(address)
        .and_then(|mut connection| connection.call(&request(method, target, fields, body)))
        .during(format_args!("no answer to {method} {target}"))
}

/// A request's bytes.
pub fn request(method: &str, target: &str, fields: &str, body: &str) -> Vec<u8> {
    let framing = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
    };
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{fields}{framing}\r\n{body}")
        .into_bytes()
}

/// The answer, once it is whole.
fn whole(bytes: &[u8]) -> io::Result<Option<Answer>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let parsed = head.parse(bytes).map_err(io::Error::other)?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or_else(|| io::Error::other("an answer without a status"))?;
    let body_length = head
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"))
        .and_then(|field| str::from_utf8(field.value).ok()?.parse::<usize>().ok())
        .ok_or_else(|| io::Error::other("an answer without Content-Length"))?;
    let body = bytes.get(length..length + body_length);
    Ok(body.map(|body| Answer { status, body: Bytes::copy_from_slice(body) }))
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
