//! `build-server`: the work is in the library of the same name.

fn main() {}
