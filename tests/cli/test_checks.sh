#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The check scripts can fail: each gets a copy of the tree with one fault. (check-layers has a test of its own.)
set -euo pipefail
. "$(dirname "$0")/lib.sh"
library=$(dirname "$cozad")/../lib/libcozad.so
tree=$tmp/tree

copy() {
    rm -rf "$tree"
    mkdir -p "$tree/src/util" "$tree/io" "$tree/tools" "$tree/tests"
    cp -r "$root/scripts" "$root/docs" "$root/completions" "$root/include" "$root/.clang-format" "$tree"
    cp -r "$root/tests/headers" "$tree/tests"
}

copy
expect 0 "$tree/scripts/check-man" "$cozad"
copy
sed -i '/: begin$/,/: end$/s/\\-\\-help/\\-\\-halp/' "$tree/docs/man/cozad-train.1"
expect 1 "$tree/scripts/check-man" "$cozad"
stderr_has 'cozad-train.1 is behind'
copy
sed -i 's/--help//' "$tree/completions/cozad.bash"
expect 1 "$tree/scripts/check-man" "$cozad"
stderr_has 'cozad.bash is behind'
expect 0 "$tree/scripts/check-man" "$cozad" --update
expect 0 "$tree/scripts/check-man" "$cozad"
copy
rm "$tree/docs/man/cozad-score.1"
expect 1 "$tree/scripts/check-man" "$cozad"
stderr_has 'cozad-score.1'

copy
expect 0 "$tree/scripts/check-headers"
echo 'void f(FILE *);' >>"$tree/include/cozad/cozad.h"
expect 1 "$tree/scripts/check-headers"
stderr_has 'cozad/cozad.h does not compile'
copy
sed -i 's/extern "C" {/int class;\n&/' "$tree/include/cozad/cozad_io.h" # fine in C, not in C++
expect 1 "$tree/scripts/check-headers"
copy
echo 'size_t f(void);' >"$tree/src/util/x.h"
expect 1 "$tree/scripts/check-headers"
stderr_has 'src/util/x.h does not compile'

copy
printf 'int   x;\n' >"$tree/src/util/x.c"
code=0
"$tree/scripts/check-format" >/dev/null 2>&1 || code=$?
[ "$code" != 0 ] || fail "check-format accepts 'int   x;'"

# The sanitizers export symbols of their own.
if ! nm -D "$library" | grep -q __asan; then
    copy
    expect 0 "$tree/scripts/check-exports" "$library"
    sed -i '$d' "$tree/docs/exported-symbols.txt"
    expect 1 "$tree/scripts/check-exports" "$library"
    copy
    echo cz_gone >>"$tree/docs/exported-symbols.txt"
    expect 1 "$tree/scripts/check-exports" "$library"
fi

# The front door says what it does and refuses what it does not know.
for script in demo test install-packages; do
    expect 0 "$root/scripts/$script" --help
    stdout_has 'packages.txt'
    expect 2 "$root/scripts/$script" --no-such-option
done
echo passed
