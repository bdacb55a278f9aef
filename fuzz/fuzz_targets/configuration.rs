#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pigello_gateway_fuzz::laws::configuration(bytes));
