//! What must hold of a whole HTTP/1 connection, whatever a caller sends. The fuzzer and a unit test of
//! the server include this file.

/// A request as the path saw it.
#[derive(Debug, PartialEq, Eq)]
pub struct SeenRequest {
    pub method: String,
    pub target: String,
    pub fields: usize,
    /// `None` if the body was broken.
    pub body: Option<Vec<u8>>,
}

/// Another parser reads the same requests up to the first that is refused, and the answers are as many,
/// well framed, and end where the connection says so. Each answer has the number of its request.
pub fn holds(sent: &[u8], seen: &[SeenRequest], answers: &[u8]) {
    let mut rest = sent;
    for (index, request) in seen.iter().enumerate() {
        let (mut expected, length) = parse_request(rest);
        if request.body.is_none() {
            // The gateway is stricter, and nothing follows.
            assert_eq!(index + 1, seen.len());
            expected.body = None;
        }
        assert_eq!(request, &expected);
        rest = rest.get(length..).expect("the next request");
    }
    check_answers(answers, seen);
}

fn parse_request(bytes: &[u8]) -> (SeenRequest, usize) {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(bytes).expect("what the gateway takes, httparse takes");
    let httparse::Status::Complete(head) = parsed else { panic!("the head is not complete") };
    let named = |name: &str| {
        let mut fields = request.headers.iter();
        let field = fields.find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(field.value).ok()
    };
    let body = bytes.get(head..).unwrap_or_default();
    let (body, length) = if named("transfer-encoding").is_some() {
        parse_chunks(body)
    } else {
        let length = named("content-length").map_or(0, |length| length.parse().expect("a number"));
        match body.get(..length) {
            Some(body) => (Some(body.to_vec()), length),
            None => (None, 0),
        }
    };
    let seen = SeenRequest {
        method: request.method.expect("a method").to_owned(),
        // `http` completes an absolute target.
        target: request.path.expect("a target").parse::<http::Uri>().expect("a URI").to_string(),
        fields: request.headers.len(),
        body,
    };
    (seen, head + length)
}

/// The data of a chunked body and its length with framing.
fn parse_chunks(bytes: &[u8]) -> (Option<Vec<u8>>, usize) {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(rest) else {
            return (None, 0);
        };
        at += line;
        if size == 0 {
            break;
        }
        let Some(chunk) = usize::try_from(size).ok().and_then(|size| bytes.get(at..)?.get(..size))
        else {
            return (None, 0);
        };
        data.extend_from_slice(chunk);
        at += chunk.len();
        if !bytes.get(at..).is_some_and(|rest| rest.starts_with(b"\r\n")) {
            return (None, 0);
        }
        at += 2;
    }
    // Trailers.
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(end) = rest.windows(2).position(|end| end == b"\r\n") else { return (None, 0) };
        at += end + 2;
        if end == 0 {
            return (Some(data), at);
        }
    }
}

fn check_answers(mut answers: &[u8], seen: &[SeenRequest]) {
    let mut count = 0;
    while !answers.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; 20];
        let mut answer = httparse::Response::new(&mut fields);
        let parsed = answer.parse(answers).expect("an answer");
        let httparse::Status::Complete(head) = parsed else { panic!("the head is not complete") };
        assert_eq!(answer.version, Some(1));
        let named = |name: &str| -> Vec<&str> {
            let fields = answer.headers.iter().filter(|field| field.name == name);
            fields.map(|field| std::str::from_utf8(field.value).expect("a text")).collect()
        };
        if answer.code == Some(100) {
            answers = &answers[head..];
            continue;
        }
        let text = count.to_string();
        let is_head = seen.get(count).is_some_and(|request| request.method == "HEAD");
        let length = if is_head {
            0
        } else if named("transfer-encoding") == ["chunked"] {
            assert_eq!(named("content-length"), Vec::<&str>::new());
            let body = format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
            assert!(answers[head..].starts_with(body.as_bytes()));
            body.len()
        } else if named("content-length").is_empty() {
            // For HTTP/1.0: up to the end of the connection.
            assert_eq!((named("connection"), &answers[head..]), (vec!["close"], text.as_bytes()));
            text.len()
        } else {
            assert_eq!(named("content-length"), [text.len().to_string()]);
            assert!(answers[head..].starts_with(text.as_bytes()));
            text.len()
        };
        answers = &answers[head + length..];
        count += 1;
        if named("connection") == ["close"] {
            assert!(answers.is_empty(), "an answer after the last one");
        }
    }
    assert!(count >= seen.iter().filter(|request| request.body.is_some()).count());
}
