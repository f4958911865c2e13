#!/bin/sh
# Fuzzes what reads foreign bytes: run.sh SECONDS [TARGET...]
#
# Each target runs for SECONDS with the nightly compiler; cargo-fuzz is not needed, its flags are below. New inputs go to fuzz/found/TARGET, inputs that
# fail to fuzz/artifacts/TARGET; the seeds in fuzz/corpus/TARGET stay as they are. A target fails on a panic, on an allocation of more than 64 MiB, on
# more than 1 GiB in all, and on an input that takes half a minute (they share the processor).
set -eu

seconds=${1:?"usage: run.sh SECONDS [TARGET...]"}
shift
fuzz=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- $(cd "$fuzz/targets" && ls | sed 's/\.rs$//')

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "no nightly toolchain: nothing was fuzzed (\`rustup toolchain install nightly\`)"
    exit 0
fi

host=x86_64-unknown-linux-gnu
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$fuzz/../../../target/fuzz}
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
RUSTFLAGS="$RUSTFLAGS -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS="$RUSTFLAGS --cfg fuzzing -Zsanitizer=address -Cdebug-assertions -Ccodegen-units=1"
export CARGO_TARGET_DIR RUSTFLAGS

for target in "$@"; do
    cargo +nightly build --quiet --release --manifest-path "$fuzz/Cargo.toml" --target "$host" --bin "$target"
    mkdir -p "$fuzz/corpus/$target" "$fuzz/found/$target" "$fuzz/artifacts/$target"
done

# Seeds of real libraries, where there is a compiler: their bytes differ between machines, so they are not kept here.
if command -v cc >/dev/null 2>&1; then
    for option in -s -g -Wl,--hash-style=sysv; do
        cc -std=c11 -D_DEFAULT_SOURCE -fvisibility=hidden -shared -fPIC "$option" -I"$fuzz/../../../core/abi/include" \
            -o "$fuzz/found/image/seed$option" "$fuzz/../tests/fixtures/plugin.c" 2>/dev/null || true
    done
fi

# All at once: a minute each takes a minute.
processes=
for target in "$@"; do
    "$CARGO_TARGET_DIR/$host/release/$target" -max_total_time="$seconds" -malloc_limit_mb=64 -rss_limit_mb=1024 -timeout=30 -print_final_stats=1 \
        -print_funcs=0 -verbosity=0 -artifact_prefix="$fuzz/artifacts/$target/" "$fuzz/found/$target" "$fuzz/corpus/$target" \
        >"$fuzz/artifacts/$target/log" 2>&1 &
    processes="$processes $target:$!"
done
failed=0
for process in $processes; do
    target=${process%:*}
    if wait "${process#*:}"; then
        echo "$target: $seconds s, $(sed -n 's/^stat::number_of_executed_units: *//p' "$fuzz/artifacts/$target/log") inputs, nothing found"
    else
        echo "$target: failed"
        tail -40 "$fuzz/artifacts/$target/log"
        failed=1
    fi
done
exit "$failed"
