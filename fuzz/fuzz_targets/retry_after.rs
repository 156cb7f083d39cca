#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_outbound_fuzz::checks;

fuzz_target!(|data: &[u8]| checks::retry_after(data));
