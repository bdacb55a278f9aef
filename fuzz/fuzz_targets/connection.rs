#![no_main]

use pigello_gateway::proxy::server::http1::fuzzing;
use pigello_gateway_fuzz::connection::{SeenRequest, holds};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let (served, answers) = fuzzing::connection(bytes, usize::from(*piece));
    let seen = |(request, body): (http::Request<()>, Option<_>)| SeenRequest {
        method: request.method().to_string(),
        target: request.uri().to_string(),
        fields: request.headers().len(),
        body: body.map(|body: bytes::Bytes| body.to_vec()),
    };
    let seen: Vec<_> = served.into_iter().map_while(|request| request.map(seen)).collect();
    holds(bytes, &seen, &answers);
});
