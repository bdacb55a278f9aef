#![no_main]

use pigello_gateway::proxy::stages::response_guard::fuzzing;
use pigello_gateway_fuzz::response_guard::holds;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holds(bytes, fuzzing::SECRET, fuzzing::pass));
