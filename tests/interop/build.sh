#!/usr/bin/env bash
# Builds the peers of other implementations into .interop/, all or those that are named: build.sh [js-3 …]. Says which
# could not be built, and goes on.
set -uo pipefail
cd "$(dirname "$0")"
built="$(cd ../.. && pwd)/.interop"
wanted=" $* "
mkdir -p "$built"

attempt() { # NAME TOOL COMMAND…
    local name="$1" tool="$2"
    shift 2
    if [[ $wanted != "  " && $wanted != *" $name "* ]]; then
        return
    elif ! command -v "$tool" > /dev/null; then
        echo "interop: $name is not built: no $tool here"
    elif ! "$@" > "$built/$name.log" 2>&1; then
        echo "interop: $name could not be built; the last lines of .interop/$name.log:"
        tail -n 5 "$built/$name.log"
    else
        echo "interop: $name is built"
    fi
}

go_peer() { (cd go && go build -o "$built/go-peer" .); }
rust_peer() { # FOLDER PROGRAM
    # No lock file: it would name the registry. The manifest pins what is used directly.
    mkdir -p "$built/rust" "$built/$1" && cp -r rust/. "$built/rust/" && cp -r "$1/." "$built/$1/" &&
        (cd "$built/$1" && cargo build --release --target-dir "$built/target") &&
        cp "$built/target/release/$2" "$built/$1-peer"
}
js_peer() {
    mkdir -p "$built/js-$1" && cp "js-$1/package.json" js/*.mjs "$built/js-$1/" &&
        (cd "$built/js-$1" && npm install --no-package-lock --no-audit --no-fund &&
            npx esbuild browser.mjs --bundle --format=esm --outfile=browser.js)
}

attempt go-peer go go_peer
attempt rust-peer cargo rust_peer rust interop-peer
attempt rust-0.53-peer cargo rust_peer rust-0.53 interop-peer-0-53
attempt js-2 npm js_peer 2
attempt js-3 npm js_peer 3
