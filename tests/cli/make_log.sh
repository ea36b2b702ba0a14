# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# make_log STEPS SEED [SLOW] prints a training log as `cozad train --log` writes it: falling losses with noise and a few
# spikes, figures that are measured every 10th step or not yet (null). SLOW (1): how much longer learning takes.
make_log() {
    awk -v steps="$1" -v seed="$2" -v slow="${3:-1}" '
    function noise() { return rand() + rand() + rand() + rand() - 2 } # variance 1/3
    function or_null(known, value) { return known ? sprintf("%.6g", value) : "null" }
    BEGIN {
        srand(seed)
        epoch = int(steps / 40); if (epoch < 1) epoch = 1
        for (s = 0; s < steps; s++) {
            t = s / steps / slow
            ad = 0.04 + 0.96 * exp(-9 * t) + 0.03 * noise() * exp(-2 * t); if (ad < 0.001) ad = 0.001
            support = ad * (1.08 + 0.05 * noise())
            weighted = ad * (0.97 - 0.02 * rand())
            contrast = 2.1 + 2.4 * exp(-5 * t) + 0.06 * noise()
            decay = 0.0132 + 0.004 * t + 0.00002 * noise()
            if (rand() < 0.002) ad += 3 * rand()
            share = 0.032 + 0.02 * exp(-4 * t) + 0.006 * noise(); if (share < 0) share = 0
            det = s < 10 ? 0 : exp(-1.5 - 3 * t + 0.8 * noise())
            shift = 0.0021 * exp(-1.3 * t) * (1 + 0.1 * noise())
            drop = 0.05 * exp(-3 * t) + 0.004 * noise()
            cosine = 1 - 0.004 * (1 + t) * (1 + 0.3 * noise())
            ga = exp(-1 - 4 * t + 0.35 * noise()); gd = exp(0.5 - 3.5 * t + 0.35 * noise())
            rate = 118 + 6 * noise() - (rand() < 0.01 ? 60 : 0)
            printf "{\"event\":\"step\",\"epoch\":%d,\"step\":%d,\"steps\":%d,\"loss\":%.6g,\"loss_ad\":%.6g,\"loss_weighted\":%.6g,", int(s / epoch), s, steps, weighted + contrast + decay, ad, weighted
            printf "\"loss_contrast\":%.6g,\"loss_decay\":%.6g,\"support_ad\":%.6g,\"mean_weight\":%.6g,\"share_below_one\":%.6g,", contrast, decay, support, 1 - 0.35 * share, share
            printf "\"det_sigma\":%s,\"lambda_ratio\":%.6g,\"inner_shift\":%.6g,\"support_drop\":%s,\"meta_cosine\":%s,", or_null(s >= 10, det), 1 + det, shift, or_null(s % 10 == 0, drop), or_null(s % 10 == 0, cosine)
            printf "\"gradient_adaptor\":%.6g,\"gradient_discriminator\":%.6g,\"images_per_second\":%.6g,\"seconds\":%.6g,\"seconds_left\":%.6g}\n", ga, gd, rate, s * 0.54, (steps - s) * 0.54
        }
    }'
}
# log_start [OPTION VALUE]… a start event; values are JSON.
log_start() {
    printf '{"event":"start","time":"2026-01-31T08:15:00Z","version":"0.1.0","backbone":"resnet50_msra","config":{"method":"cozad","taps":"layer2,layer3","image-size":"256","epochs":40,"batch":16,"patches-per-image":128,"scl":true,"kappa":1.5,"gamma":1,"lambda0":5e-6,"contrast":true,"knn":5,"temperature":0.1,"tasks":4'
    while [ $# -ge 2 ]; do
        printf ',"%s":%s' "$1" "$2"
        shift 2
    done
    printf '},"categories":[{"name":"metal_nut","images":220},{"name":"tire","images":230},{"name":"dtd/woven_001","images":700}]}\n'
}
log_end() { printf '{"event":"end","status":"ok","seconds":388.8,"model":"zero-shot.cozad"}\n'; }
