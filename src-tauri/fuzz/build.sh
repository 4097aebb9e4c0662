#!/bin/sh
# Builds every target as `cargo fuzz build` does, with the stable compiler. Usage: sh fuzz/build.sh
set -eu
cd "$(dirname "$0")"
host=$(rustc -vV | sed -n 's/^host: //p')
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags="$flags -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
flags="$flags --cfg fuzzing -Zsanitizer=address -Ccodegen-units=1"
# RUSTC_BOOTSTRAP: -Zsanitizer is a nightly option.
RUSTC_BOOTSTRAP=1 RUSTFLAGS="$flags" cargo build --release --target "$host" --bins
