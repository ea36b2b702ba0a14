#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# scripts/check-layers accepts a tree that follows the rule and names the fault in each of several that do not.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

spdx='/* SPDX-License-Identifier: Apache-2.0 */'
tree=$tmp/tree
good_tree() {
    rm -rf "$tree"
    mkdir -p "$tree"/src/{util,tensor,engine,api} "$tree"/{io,tools/cli,examples,include/cozad}
    printf '%s\n#include <stdio.h>\n#include "util/a.h"\n#include "cozad/cozad.h"\n' "$spdx" >"$tree/src/tensor/t.c"
    printf '%s\n#include <dnnl.h>\n' "$spdx" >"$tree/src/engine/e.c"
    printf '%s\n#include "util/a.h"\n#include "cozad/cozad_io.h"\n' "$spdx" >"$tree/io/png.c"
    printf '%s\n#include "cli.h"\n#include "cozad/cozad.h"\n' "$spdx" >"$tree/tools/cli/main.c"
    printf '%s\n#include <cozad/cozad.h>\n' "$spdx" >"$tree/examples/e.c"
}

good_tree
expect 0 "$root/scripts/check-layers" "$tree"

# FILE, a line that must not be in it, what is said
refused() {
    good_tree
    mkdir -p "$(dirname "$tree/$1")"
    [ -e "$tree/$1" ] || echo "$spdx" >"$tree/$1"
    echo "$2" >>"$tree/$1"
    expect 1 "$root/scripts/check-layers" "$tree"
    stdout_has "^$1:[0-9]+: .*$3"
}
refused src/util/a.c '#include "tensor/t.h"' 'earlier layer than tensor'
refused src/tensor/t.c '  #  include "api/x.h"' 'earlier layer than api'
refused src/tensor/t.c '#include "io/png.h"' 'may not include'
refused src/tensor/t.c '#include "cozad/cozad_io.h"' 'below io'
refused src/tensor/t.c '#include "../util/a.h"' 'relative path'
refused src/tensor/t.c '#include <oneapi/dnnl/dnnl.h>' 'only src/engine'
refused src/api/t.c '#include "dnnl.h"' 'only src/engine'
refused src/novel/t.c '' 'no layer'
refused io/png.c '#include "tensor/t.h"' 'may not include'
refused tools/cli/main.c '#include "util/a.h"' 'public headers only'
refused tools/cli/main.c '#include <dnnl.h>' 'only src/engine'
refused examples/e.c '#include "util/a.h"' 'public headers only'

good_tree
echo 'int x;' >"$tree/src/util/bare.c"
expect 1 "$root/scripts/check-layers" "$tree"
stdout_has 'src/util/bare.c:1: .*SPDX'
echo passed
