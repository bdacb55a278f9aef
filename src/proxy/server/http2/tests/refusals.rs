//! Requests that never become calls.

use super::support::{Caller, block, frame_of, get};
use crate::error::Kind;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;

/// Refused by h2 or here: its neighbours live on, and it has one report or one call.
#[tokio::test(start_paused = true)]
async fn a_malformed_request_ends_alone() {
    let usual =
        [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/5")];
    let with = |name: &'static str, value: &'static str| {
        let usual = usual.into_iter().filter(|(usual, _)| *usual != name);
        usual.chain([(name, value)]).collect::<Vec<_>>()
    };
    // (what, its fields, whether it is refused by h2, what the caller gets)
    for (name, fields, is_report, heard) in [
        ("a field of a connection", with("transfer-encoding", "chunked"), true, RESET),
        ("no path", usual[..3].to_vec(), true, RESET),
        ("upper case", with("X", "a"), false, RESET),
        ("a space in a name", with("x y", "a"), false, RESET),
        ("a line end in a value", with("x", "a\r\nb: c"), false, HEADERS),
        ("a quote in the path", with(":path", "/a\"b"), false, HEADERS),
        ("a fragment in the path", with(":path", "/a#b"), false, HEADERS),
        ("a letter in the path", with(":path", "/\u{e5}"), false, HEADERS),
        ("a line end in the path", with(":path", "/a HTTP/1.1\r\nx: y"), false, HEADERS),
        ("a space in the method", with(":method", "GET /"), false, HEADERS),
        ("a letter in the authority", with(":authority", "\u{e5}.test"), false, HEADERS),
    ] {
        let mut caller = Caller::connect(1000).await;
        // A pseudo-header field comes first.
        let mut fields = fields;
        fields.sort_by_key(|(name, _)| !name.starts_with(':'));
        let bad = frame_of(1, 5, 3, &block(&fields));
        caller.send(&[get(1, "/5"), bad, get(5, "/5")].concat()).await;
        let mut frames = Vec::new();
        let expected = [(DATA, 1), (DATA, 5), (HEADERS, 1), (heard, 3), (HEADERS, 5)];
        while !expected.iter().all(|frame| frames.contains(frame)) {
            let frame = caller.frame().await;
            let (kind, _, stream, _) = frame.unwrap_or_else(|| panic!("{name}: {frames:?}"));
            frames.push((kind, stream));
        }
        let reports = if is_report { vec![Kind::Malformed] } else { vec![] };
        assert_eq!(*caller.refused.lock(), reports, "{name}");
        assert_eq!(caller.unreadable.lock().len(), usize::from(!is_report), "{name}");
    }
}

/// What the record of such a request says; also when it refers to the fields of an earlier one.
#[tokio::test(start_paused = true)]
async fn a_malformed_request_is_told_by_its_method_and_path() {
    let mut caller = Caller::connect(1000).await;
    let path = "/a b/\u{e5}\"#c";
    let first = [&b"\x83\x86\x44"[..], &[u8::try_from(path.len()).unwrap()], path.as_bytes()];
    let again = b"\x82\x86\xbe";
    caller.send(&[frame_of(1, 5, 1, &first.concat()), frame_of(1, 5, 3, again)].concat()).await;
    caller.wait_for(HEADERS, 3).await;
    let told = caller.unreadable.lock().clone();
    assert_eq!(
        told,
        [
            "POST /a%20b/%C3%A5%22%23c malformed_request",
            "GET /a%20b/%C3%A5%22%23c malformed_request"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_head_over_the_limit_is_reported() {
    let mut caller = Caller::connect(100).await;
    let value = "x".repeat(100);
    let fields = [("x", value.as_str()); 200];
    let usual =
        [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/5")];
    let block = block(&[&usual[..], &fields].concat());
    let (first, rest) = block.split_at(16_000);
    caller.send(&[frame_of(1, 1, 1, first), frame_of(9, 4, 1, rest), get(3, "/5")].concat()).await;
    caller.wait_for(DATA, 3).await;
    assert_eq!(*caller.refused.lock(), [Kind::HeadersTooLarge]);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_frames_are_reported() {
    for (name, bytes) in [
        ("a block that is no HPACK", frame_of(1, 5, 1, &[0x80, 0xff])),
        ("a PING that is too short", frame_of(6, 0, 0, &[0; 3])),
        ("data of no stream", frame_of(0, 0, 0, b"x")),
    ] {
        let mut caller = Caller::connect(100).await;
        caller.send(&bytes).await;
        caller.wait_for(7, 0).await;
        while caller.frame().await.is_some() {}
        assert_eq!(*caller.refused.lock(), [Kind::Malformed], "{name}");
        caller.serving.await.unwrap().unwrap_err();
    }
}

#[tokio::test(start_paused = true)]
async fn what_calls_do_is_no_refusal() {
    let mut caller = Caller::connect(100).await;
    // A body that is longer than its length: the call has a record.
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", "/never"),
        ("content-length", "2"),
    ];
    let post = [frame_of(1, 4, 1, &block(&fields)), frame_of(0, 1, 1, b"hello")].concat();
    caller.send(&[post, get(3, "/5")].concat()).await;
    caller.wait_for(DATA, 3).await;
    caller.send(&[get(5, "/never"), frame_of(RESET, 0, 5, &[0, 0, 0, 1])].concat()).await;
    caller.send(&get(7, "/5")).await;
    caller.wait_for(DATA, 7).await;
    assert_eq!(*caller.refused.lock(), []);
}
