#![no_main]

use libfuzzer_sys::fuzz_target;

// A panic of a library that is caught is no fault; one that is not ends the program all the same.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |data: &[u8]| pipe_data::fuzzing::arrow(data));
