//! Header fields that the cache reads, of requests and responses: nothing in them may stop it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pigello_gateway::proxy::cache::fuzzing::fields(data));
