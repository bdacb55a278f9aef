//! HTTP/2 by hand, from either end: frames that no well-behaved peer sends.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that sends frames as they are.
pub struct Frames<S = TcpStream> {
    stream: S,
    unread: Vec<u8>,
}

/// What came back for a stream, or for the connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A response with that status.
    Status(u16),
    /// The stream was reset.
    Reset,
    /// The connection was ended.
    GoAway,
    /// The connection closed without a word.
    Closed,
}

/// A frame of that type.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A HEADERS frame with these fields, none of them compressed.
pub fn headers(stream: u32, end: bool, fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let mut length = text.len();
            if length < 127 {
                block.push(u8::try_from(length).unwrap());
            } else {
                block.push(127);
                length -= 127;
                while length >= 128 {
                    block.push(u8::try_from(length % 128).unwrap() | 128);
                    length /= 128;
                }
                block.push(u8::try_from(length).unwrap());
            }
            block.extend_from_slice(text);
        }
    }
    frame(1, 4 | u8::from(end), stream, &block)
}

impl Frames {
    /// Connects and exchanges settings.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&[&PREFACE[..], &frame(4, 0, 0, &[])].concat()).await.unwrap();
        Self { stream, unread: Vec::new() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// The server's end: reads the preface and sends settings.
    pub async fn accept(mut stream: S) -> Self {
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface).await.unwrap();
        assert_eq!(&preface, PREFACE);
        let mut connection = Self { stream, unread: Vec::new() };
        connection.send(&frame(4, 0, 0, &[])).await;
        connection
    }

    /// The stream of the next frame of that type.
    pub async fn receive(&mut self, kind: u8) -> u32 {
        let received = async {
            loop {
                let (next, flags, stream, _) = self.frame().await.expect("the connection is open");
                if next == kind {
                    return stream;
                }
                self.acknowledge(next, flags).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), received).await.expect("a frame")
    }

    /// Sends bytes; whether the peer still takes them.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        // TLS holds back what the socket does not take at once.
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// Waits for what becomes of a stream.
    pub async fn hear(&mut self, stream: u32) -> Heard {
        tokio::time::timeout(Duration::from_secs(10), self.next(stream)).await.expect("an answer")
    }

    /// Waits for the head of any answer: its stream and its status.
    pub async fn answer(&mut self) -> (u32, u16) {
        let answer = async {
            loop {
                let (kind, flags, stream, payload) =
                    self.frame().await.expect("an open connection");
                match kind {
                    1 => return (stream, status(&payload)),
                    _ => self.acknowledge(kind, flags).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), answer).await.expect("an answer")
    }

    async fn next(&mut self, wanted: u32) -> Heard {
        loop {
            let Some((kind, flags, stream, payload)) = self.frame().await else {
                return Heard::Closed;
            };
            match kind {
                1 if stream == wanted => return Heard::Status(status(&payload)),
                3 if stream == wanted => return Heard::Reset,
                7 => return Heard::GoAway,
                _ => self.acknowledge(kind, flags).await,
            }
        }
    }

    async fn acknowledge(&mut self, kind: u8, flags: u8) {
        if kind == 4 && flags == 0 {
            self.send(&frame(4, 1, 0, &[])).await;
        }
    }

    async fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        while self.unread.len() < 9 {
            self.read().await?;
        }
        let length = u32::from_be_bytes([0, self.unread[0], self.unread[1], self.unread[2]]);
        let whole = 9 + usize::try_from(length).unwrap();
        while self.unread.len() < whole {
            self.read().await?;
        }
        let frame: Vec<u8> = self.unread.drain(..whole).collect();
        let stream = u32::from_be_bytes(frame[5..9].try_into().unwrap());
        Some((frame[3], frame[4], stream, frame[9..].to_vec()))
    }

    async fn read(&mut self) -> Option<()> {
        let mut buffer = [0; 4096];
        let length = self.stream.read(&mut buffer).await.ok()?;
        self.unread.extend_from_slice(&buffer[..length]);
        (length > 0).then_some(())
    }
}

/// The status of a response's header block: it comes first, from the static table or as a literal.
fn status(block: &[u8]) -> u16 {
    // A change of the table's size may stand in front.
    let at = block.iter().position(|byte| byte >> 5 != 1).unwrap();
    match &block[at..] {
        [indexed @ 0x88..=0x8e, ..] => {
            [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)]
        }
        [0x48 | 0x08 | 0x18, length, text @ ..] => {
            let text = &text[..usize::from(length & 0x7f)];
            if length & 0x80 == 0 {
                String::from_utf8_lossy(text).parse().unwrap()
            } else {
                digits(text)
            }
        }
        other => panic!("no status in {other:?}"),
    }
}

/// Three digits in Huffman's code (RFC 7541, appendix B).
fn digits(text: &[u8]) -> u16 {
    let bits = text.iter().fold(String::new(), |bits, byte| bits + &format!("{byte:08b}"));
    let codes = [
        "00000", "00001", "00010", "011001", "011010", "011011", "011100", "011101", "011110",
        "011111",
    ];
    let (mut rest, mut number) = (bits.as_str(), 0);
    for _ in 0..3 {
        let digit = codes.iter().position(|code| rest.starts_with(code)).unwrap();
        rest = &rest[codes[digit].len()..];
        number = number * 10 + u16::try_from(digit).unwrap();
    }
    number
}
