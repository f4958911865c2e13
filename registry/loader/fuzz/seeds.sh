# Seeds of real libraries, where there is a compiler: their bytes differ between machines, so they are not kept here.
fuzz=$(cd "$(dirname "$0")" && pwd)
command -v cc >/dev/null 2>&1 || exit 0
for option in -s -g -Wl,--hash-style=sysv; do
    cc -std=c11 -D_DEFAULT_SOURCE -fvisibility=hidden -shared -fPIC "$option" -I"$fuzz/../../../core/abi/include" \
        -o "$fuzz/found/image/seed$option" "$fuzz/../tests/fixtures/plugin.c" 2>/dev/null || true
done
