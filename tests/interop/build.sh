#!/usr/bin/env bash
# Builds the peers of other implementations into .interop/; says which could not be built, and goes on.
set -uo pipefail
cd "$(dirname "$0")"
built="$(cd ../.. && pwd)/.interop"
mkdir -p "$built"

attempt() { # NAME TOOL COMMAND…
    local name="$1" tool="$2"
    shift 2
    if ! command -v "$tool" > /dev/null; then
        echo "interop: $name is not built: no $tool here"
    elif ! "$@" > "$built/$name.log" 2>&1; then
        echo "interop: $name could not be built; the last lines of .interop/$name.log:"
        tail -n 5 "$built/$name.log"
    else
        echo "interop: $name is built"
    fi
}

go_peer() { (cd go && go build -o "$built/go-peer" .); }
rust_peer() {
    # No lock file: it would name the registry. The manifest pins what is used directly.
    mkdir -p "$built/rust" && cp -r rust/. "$built/rust/" &&
        (cd "$built/rust" && cargo build --release --target-dir "$built/target") &&
        cp "$built/target/release/interop-peer" "$built/rust-peer"
}
js_peer() {
    mkdir -p "$built/js-$1" && cp "js-$1/package.json" js/*.mjs "$built/js-$1/" &&
        (cd "$built/js-$1" && npm install --no-package-lock --no-audit --no-fund)
}

attempt go-peer go go_peer
attempt rust-peer cargo rust_peer
attempt js-2 npm js_peer 2
attempt js-3 npm js_peer 3
