#!/bin/sh
# Fuzzes what reads foreign bytes, and the kernels over shapes: fuzz.sh SECONDS FOLDER...     FOLDER is a `fuzz` folder of a crate
#
# Every target of the folders runs for SECONDS, all at the same time, with the nightly compiler and AddressSanitizer; cargo-fuzz is not needed, its flags are
# below. New inputs go to FOLDER/found/TARGET, inputs that fail to FOLDER/artifacts/TARGET; the seeds in FOLDER/corpus/TARGET stay as they are, and FOLDER/seeds.sh
# may make more. A target fails on a panic, on an allocation of more than 64 MiB, on more than 1 GiB in all, and on an input that takes half a minute (they share
# the processor).
set -eu

seconds=${1:?"usage: fuzz.sh SECONDS FOLDER..."}
shift
root=$(cd "$(dirname "$0")/.." && pwd)

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "no nightly toolchain: nothing was fuzzed (\`rustup toolchain install nightly\`)"
    exit 0
fi

host=x86_64-unknown-linux-gnu
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target/fuzz}
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
RUSTFLAGS="$RUSTFLAGS -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS="$RUSTFLAGS --cfg fuzzing -Zsanitizer=address -Cdebug-assertions -Ccodegen-units=1"
export CARGO_TARGET_DIR RUSTFLAGS

targets() {
    (cd "$1/targets" && ls | sed 's/\.rs$//')
}

for folder in "$@"; do
    cargo +nightly build --quiet --release --manifest-path "$folder/Cargo.toml" --target "$host"
    for target in $(targets "$folder"); do
        mkdir -p "$folder/corpus/$target" "$folder/found/$target" "$folder/artifacts/$target"
    done
    [ ! -f "$folder/seeds.sh" ] || sh "$folder/seeds.sh"
done

# All at once: a minute each takes a minute.
processes=
for folder in "$@"; do
    for target in $(targets "$folder"); do
        "$CARGO_TARGET_DIR/$host/release/$target" -max_total_time="$seconds" -malloc_limit_mb=64 -rss_limit_mb=1024 -timeout=30 -print_final_stats=1 \
            -print_funcs=0 -verbosity=0 -artifact_prefix="$folder/artifacts/$target/" "$folder/found/$target" "$folder/corpus/$target" \
            >"$folder/artifacts/$target/log" 2>&1 &
        processes="$processes $folder/artifacts/$target/log:$!"
    done
done
failed=0
for process in $processes; do
    log=${process%:*}
    target=$(basename "$(dirname "$log")")
    if wait "${process#*:}"; then
        echo "$target: $seconds s, $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, nothing found"
    else
        echo "$target: failed"
        tail -40 "$log"
        failed=1
    fi
done
exit "$failed"
