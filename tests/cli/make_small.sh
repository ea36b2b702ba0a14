# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced after lib.sh: $scenes (small cloth pictures in the MVTec layout) and train_small, a training of a second or two.
# Short waits: many of these tests run with other work on the machine.
export OMP_WAIT_POLICY=passive
scenes=$tmp/scenes
small=(--backbone random:resnet18:1 --image-size 64 --feature-width 96 --hidden-width 64 --patches-per-image 16 --threads 1)
make_scenes() {
    "$cozad" synth "$scenes" --scenes cloth --normal 6 --test-good 3 --test-bad 4 --size 96 --seed 5 >/dev/null
}
train_small() { # MODEL [options]
    local model=$1
    shift
    "$cozad" train --normal "$scenes/cloth/train/good" "${small[@]}" --epochs 2 --seed 1 -o "$model" "$@"
}
