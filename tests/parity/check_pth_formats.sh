#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Full-size PyTorch checkpoints in both formats: check_pth_formats.sh COZAD [ARCHITECTURE...]. Not part of scripts/test.
set -euo pipefail
if ! /usr/bin/python3 -c 'import torch, numpy' 2>/dev/null; then
    echo "skipped: check_pth_formats (no PyTorch)"
    exit 77
fi
cozad=$(realpath "$1")
shift
cd "$(dirname "$0")"
exec /usr/bin/python3 check_pth_formats.py "$cozad" "$@"
