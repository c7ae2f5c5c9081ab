#!/bin/sh
# Run among manifests without sources: gives every crate the empty files that its manifest speaks of, so that cargo
# can compile the dependencies alone. POSIX sh, as the build image has it.
set -eu
for manifest in crates/*/Cargo.toml; do
    crate=${manifest%/Cargo.toml}
    mkdir -p "$crate/src"
    : >"$crate/src/lib.rs"
done
rm crates/nuncio/src/lib.rs
echo 'fn main() {}' >crates/nuncio/src/main.rs
mkdir -p tests/support tests/bench tests/e2e
: >tests/support/lib.rs
echo 'fn main() {}' | tee tests/bench/main.rs >tests/e2e/main.rs
