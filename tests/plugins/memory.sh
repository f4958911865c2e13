#!/usr/bin/env bash
# Memory on the plugin boundary: memory.sh LMPROBE
#
# Miri on the kit, the loader's checks and the example plugin (nightly, `rustup +nightly component add miri`), and valgrind on the program with both example plugins
# loaded. What is not installed is reported and left out.
set -euo pipefail
lmprobe=$(realpath "${1:?usage: memory.sh LMPROBE}")
cd "$(dirname "$0")/../.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target/memory}

if cargo +nightly miri --version >/dev/null 2>&1; then
  export MIRIFLAGS=-Zmiri-disable-isolation
  cargo +nightly miri test --quiet -p lmprobe-loader -p lmprobe-sdk --lib
  cargo +nightly miri test --quiet --manifest-path tests/plugins/rust/Cargo.toml
else
  echo 'skipped: miri (there is no nightly toolchain with it)'
fi

if ! command -v valgrind >/dev/null; then
  echo 'skipped: valgrind (it is not installed)'
  exit 0
fi
# The loader takes only what nobody else may change.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 700 "$folder"
cargo build --quiet --manifest-path tests/plugins/rust/Cargo.toml
cp "$CARGO_TARGET_DIR/debug/liblmprobe_example_plugin.so" "$folder/"
printf 'subject,relation,object\naspirin,treats,fever\np53,part of,nucleus\n' >"$folder/facts.csv"
libraries=liblmprobe_example_plugin.so
if command -v cc >/dev/null; then
  cc -std=c11 -g -O1 -Wall -Wextra -Werror -fvisibility=hidden -shared -fPIC -Icore/abi/include -o "$folder/libexample_c.so" tests/plugins/c/example.c -lm
  libraries="$libraries libexample_c.so"
fi
chmod 644 "$folder"/*.so
for library in $libraries; do
  valgrind --quiet --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite --error-exitcode=99 \
    "$lmprobe" plugin check "$folder/$library" --params "example/facts={\"path\": \"$folder/facts.csv\"}" --params 'example/misbehave={"how": "stdout"}' >/dev/null
  echo "valgrind: $library: every component was created and called, no invalid access, nothing definitely lost"
done
