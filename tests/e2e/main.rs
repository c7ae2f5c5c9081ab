//! End-to-end tests on real servers and the real binary; `tests/README.md` says how to write one.

mod architecture;
mod signing_sdks;
mod support;
