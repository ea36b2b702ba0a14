#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs into an empty prefix, builds and runs examples/embed.c against the installed tree only, by pkg-config and by
# find_package, then moves the tree and does it again: nothing may depend on where it was installed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
build=${COZAD_BUILD_DIR:-$(dirname "$(dirname "$cozad")")}
[ -e "$build/cmake_install.cmake" ] || fail "$build is no build folder"

# The example is copied out of the tree, so that no header of the sources can be found by accident.
mkdir "$tmp/example"
cp "$root/examples/embed.c" "$root/examples/CMakeLists.txt" "$tmp/example/"
unset LD_LIBRARY_PATH CPATH C_INCLUDE_PATH LIBRARY_PATH PKG_CONFIG_PATH CMAKE_PREFIX_PATH

check_tree() { # PREFIX
    local prefix=$1 file libdir pc config
    pc=$(find "$prefix" -name cozad.pc)
    config=$(find "$prefix" -name cozadConfig.cmake)
    [ -n "$pc" ] && [ -n "$config" ] || fail "no cozad.pc or cozadConfig.cmake below $prefix"
    for file in include/cozad/cozad.h include/cozad/cozad_io.h bin/cozad share/man/man1/cozad.1 \
        share/bash-completion/completions/cozad share/zsh/site-functions/_cozad \
        share/fish/vendor_completions.d/cozad.fish share/cozad/README.txt; do
        [ -s "$prefix/$file" ] || fail "not installed: $file"
    done

    expect 0 "$prefix/bin/cozad" --version
    # The binary uses the library beside it, not the one of the build folder.
    expect 0 ldd "$prefix/bin/cozad"
    grep -F libcozad.so.0 "$tmp/out" | grep -qF "$prefix" || fail "the binary does not load the installed library"

    # The backbone that comes along is found wherever the tree lies; where the sources have none, random weights stand in for it.
    if [ ! -e "$prefix/share/cozad/builtin.safetensors" ]; then
        [ ! -e "$root/share/cozad/builtin.safetensors" ] || fail "the built-in backbone is not installed"
        expect 0 "$prefix/bin/cozad" weights convert random:cozad_r32:1 "$prefix/share/cozad/builtin.safetensors"
    fi
    expect 0 "$prefix/bin/cozad" weights verify builtin
    stdout_has "^$(realpath "$prefix")/share/cozad/builtin.safetensors: ok"

    export PKG_CONFIG_PATH=${pc%/*}
    libdir=$(realpath "$(pkg-config --variable=libdir cozad)")
    [ "$libdir/libcozad.so.0" -ef "$(find "$prefix" -name libcozad.so.0)" ] || fail "cozad.pc names $libdir"
    # shellcheck disable=SC2046  # flags are words
    expect 0 cc -std=c17 -Wall -Wextra -pedantic -Werror "$tmp/example/embed.c" -o "$tmp/embed-pc" \
        $(pkg-config --cflags --libs cozad) -pthread "-Wl,-rpath,$libdir"
    expect 0 "$tmp/embed-pc"
    stdout_has '^cozad [0-9.]+: ok$'

    rm -rf "$tmp/embed-build"
    expect 0 cmake -S "$tmp/example" -B "$tmp/embed-build" -G Ninja "-Dcozad_DIR=${config%/*}"
    expect 0 cmake --build "$tmp/embed-build"
    expect 0 "$tmp/embed-build/embed"
    stdout_has '^cozad [0-9.]+: ok$'
    unset PKG_CONFIG_PATH
}

expect 0 cmake --install "$build" --prefix "$tmp/first"
check_tree "$tmp/first"

# Nothing that is installed names the build folder, the sources or the prefix.
for word in "$build" "$tmp/first"; do
    found=$(grep -rIlF -- "$word" "$tmp/first" || true)
    [ -z "$found" ] || fail "$word is written in: $found"
done
if readelf -d "$tmp/first/bin/cozad" | grep -E 'R(UN)?PATH' | grep -qvF "\$ORIGIN"; then
    fail "the run path of the binary is absolute"
fi

mkdir "$tmp/elsewhere"
mv "$tmp/first" "$tmp/elsewhere/moved"
check_tree "$tmp/elsewhere/moved"

# An example that reads files: photos that the tool itself makes.
expect 0 "$cozad" synth "$tmp/photos"
folder=$(find "$tmp/photos" -type d -path '*/train/good' | sort | head -n 1)
[ -n "$folder" ] || fail "cozad synth made no train/good"
expect 0 "$tmp/embed-pc" "$folder"
stdout_has '^cozad [0-9.]+: ok$'
echo "passed: installed tree, pkg-config, find_package, moved tree"
