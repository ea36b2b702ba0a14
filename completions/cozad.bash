# SPDX-License-Identifier: Apache-2.0
# Bash completion for cozad. Written by scripts/check-man --update from the --help of every verb.
_cozad() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]:-} options words=
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "train score serve eval metrics compare adapt calibrate drift plot info inspect mutual features weights data cache bench synth ablate --help --version" -- "$current")
        return
    fi
    case $verb in
    data)
        if [ "$COMP_CWORD" = 2 ]; then
            mapfile -t COMPREPLY < <(compgen -W "check --help" -- "$current")
            return
        fi
        verb="$verb ${COMP_WORDS[2]}"
        ;;
    weights)
        if [ "$COMP_CWORD" = 2 ]; then
            mapfile -t COMPREPLY < <(compgen -W "list inspect convert verify fetch --help" -- "$current")
            return
        fi
        verb="$verb ${COMP_WORDS[2]}"
        ;;
    esac
    case $verb:$previous in
    "train:--normal") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "train:--data") return ;;
    "train:--layout") return ;;
    "train:--source") return ;;
    "train:--exclude") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "train:--shots") return ;;
    "train:--roi") return ;;
    "train:--ignore-mask") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "train:--image-size") return ;;
    "train:--fit") words="squash letterbox crop" ;;
    "train:--resize") return ;;
    "train:--max-pixels") return ;;
    "train:--output" | "train:-o") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "train:--method") words="simplenet flow knn cozad comet" ;;
    "train:--epochs") return ;;
    "train:--batch") return ;;
    "train:--patches-per-image") return ;;
    "train:--lr-adaptor") return ;;
    "train:--lr-discriminator") return ;;
    "train:--seed") return ;;
    "train:--precision") words="fp32 fp32-winograd bf16 int8 auto" ;;
    "train:--quantise") return ;;
    "train:--threads") return ;;
    "train:--taps") return ;;
    "train:--feature-width") return ;;
    "train:--neighbourhood") return ;;
    "train:--feature-scale") return ;;
    "train:--detector") words="simplenet flow knn" ;;
    "train:--hidden-width") return ;;
    "train:--noise-std") return ;;
    "train:--margin-positive") return ;;
    "train:--margin-negative") return ;;
    "train:--top-k") return ;;
    "train:--descriptor") words="auto patch relational" ;;
    "train:--negatives") return ;;
    "train:--synthetic") return ;;
    "train:--flow-level") words="patch image" ;;
    "train:--flow-blocks") return ;;
    "train:--flow-hidden") return ;;
    "train:--flow-project") return ;;
    "train:--flow-clamp") return ;;
    "train:--lr-flow") return ;;
    "train:--bank") return ;;
    "train:--bank-select") words="coreset random" ;;
    "train:--rotations") return ;;
    "train:--scl") words="on off" ;;
    "train:--data-uncertainty") words="on off" ;;
    "train:--model-uncertainty") words="on off" ;;
    "train:--confidence-unit") words="patch image" ;;
    "train:--weight-anchor") words="median min none" ;;
    "train:--weight-floor") return ;;
    "train:--weight-window") return ;;
    "train:--kappa") return ;;
    "train:--gamma") return ;;
    "train:--lambda0") return ;;
    "train:--uncertainty-pairs") return ;;
    "train:--uncertainty-scale") words="relative raw" ;;
    "train:--det-max") return ;;
    "train:--decay") words="matrices all" ;;
    "train:--loss-reduction") words="mean sum" ;;
    "train:--contrast") words="on off" ;;
    "train:--lambda-cont") return ;;
    "train:--knn") return ;;
    "train:--temperature") return ;;
    "train:--contrast-chunk") return ;;
    "train:--contrast-in") words="both inner outer" ;;
    "train:--meta") words="on off" ;;
    "train:--meta-gradient") words="exact first-order reptile" ;;
    "train:--tasks") return ;;
    "train:--inner-steps") return ;;
    "train:--inner-lr") return ;;
    "train:--query-share") return ;;
    "train:--balance") words="on off" ;;
    "train:--config") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "train:--log") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "train:--checkpoint-every") return ;;
    "train:--cache-dir") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "train:--cache-limit") return ;;
    "score:--model" | "score:-m") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "score:--maps") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "score:--range") return ;;
    "score:--report") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "score:--gate") return ;;
    "score:--fdr") return ;;
    "score:--min-area") return ;;
    "score:--mm-per-pixel") return ;;
    "score:--roi") return ;;
    "score:--ignore-mask") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "score:--fit") words="squash letterbox crop" ;;
    "score:--batch") return ;;
    "score:--tile") return ;;
    "score:--tile-overlap") return ;;
    "score:--precision") words="fp32 fp32-winograd bf16 int8 auto" ;;
    "score:--workers") return ;;
    "score:--threads") return ;;
    "score:--cache-dir") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "score:--cache-limit") return ;;
    "score:--max-pixels") return ;;
    "serve:--model" | "serve:-m") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "serve:--model-dir") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "serve:--precision") words="fp32 fp32-winograd bf16 int8 auto" ;;
    "serve:--threads") return ;;
    "serve:--max-batch") return ;;
    "serve:--host") return ;;
    "serve:--port") return ;;
    "serve:--allow-host") return ;;
    "serve:--auth-token-file") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "serve:--tls-cert") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "serve:--tls-key") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "serve:--max-body") return ;;
    "serve:--max-bodies") return ;;
    "serve:--max-pixels") return ;;
    "serve:--max-connections") return ;;
    "serve:--queue") return ;;
    "serve:--timeout") return ;;
    "serve:--idle-timeout") return ;;
    "serve:--drain") return ;;
    "serve:--state-dir") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "serve:--quota") return ;;
    "serve:--retention") return ;;
    "serve:--history") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "serve:--results") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "serve:--webhook") return ;;
    "serve:--mqtt") return ;;
    "eval:--model" | "eval:-m") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "eval:--data") return ;;
    "eval:--layout") return ;;
    "eval:--category") return ;;
    "eval:--normal") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "eval:--abnormal") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "eval:--masks") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "eval:--at") return ;;
    "eval:--threshold") return ;;
    "eval:--pixel-threshold") return ;;
    "eval:--min-area") return ;;
    "eval:--mm-per-pixel") return ;;
    "eval:--resamples") return ;;
    "eval:--seed") return ;;
    "eval:--best-of") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "eval:--report") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "eval:--overlays") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "eval:--save-scores") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "eval:--save-maps") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "eval:--suite") return ;;
    "eval:--root") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "eval:--visa-model") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "eval:--tile") return ;;
    "eval:--tile-overlap") return ;;
    "eval:--precision") words="fp32 fp32-winograd bf16 int8 auto" ;;
    "eval:--workers") return ;;
    "eval:--threads") return ;;
    "eval:--cache-dir") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "eval:--cache-limit") return ;;
    "eval:--max-pixels") return ;;
    "eval:--contaminate") return ;;
    "eval:--contaminate-from") words="same other" ;;
    "eval:--contaminate-keep-in-test") words="no yes" ;;
    "eval:--contaminate-most") return ;;
    "eval:--seeds") return ;;
    "eval:--methods") return ;;
    "eval:--detectors") return ;;
    "eval:--with") return ;;
    "eval:--output" | "eval:-o") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "metrics:--maps") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "metrics:--data") return ;;
    "metrics:--at") return ;;
    "metrics:--threshold") return ;;
    "metrics:--pixel-threshold") return ;;
    "metrics:--min-area") return ;;
    "metrics:--mm-per-pixel") return ;;
    "metrics:--resamples") return ;;
    "metrics:--seed") return ;;
    "metrics:--threads") return ;;
    "metrics:--max-pixels") return ;;
    "compare:--method") words="delong bootstrap" ;;
    "compare:--resamples") return ;;
    "compare:--seed") return ;;
    "adapt:--model" | "adapt:-m") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "adapt:--normal") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "adapt:--photos" | "adapt:-k") return ;;
    "adapt:--output" | "adapt:-o") return ;;
    "adapt:--steps") return ;;
    "adapt:--inner-lr") return ;;
    "adapt:--patches-per-image") return ;;
    "adapt:--seed") return ;;
    "adapt:--precision") words="fp32 fp32-winograd bf16 int8 auto" ;;
    "adapt:--threads") return ;;
    "adapt:--cache-dir") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "adapt:--cache-limit") return ;;
    "adapt:--max-pixels") return ;;
    "calibrate:--model" | "calibrate:-m") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "calibrate:--normal") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "calibrate:--unlabelled") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "calibrate:--contamination") return ;;
    "calibrate:--output" | "calibrate:-o") return ;;
    "calibrate:--rule") words="fpr iqr f1 cost" ;;
    "calibrate:--fpr") return ;;
    "calibrate:--confidence") return ;;
    "calibrate:--abnormal") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "calibrate:--cost-miss") return ;;
    "calibrate:--cost-alarm") return ;;
    "calibrate:--pixel-quantile") return ;;
    "calibrate:--tile") return ;;
    "calibrate:--tile-overlap") return ;;
    "calibrate:--precision") words="fp32 fp32-winograd bf16 int8 auto" ;;
    "calibrate:--threads") return ;;
    "calibrate:--cache-dir") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "calibrate:--cache-limit") return ;;
    "calibrate:--max-pixels") return ;;
    "drift:--model" | "drift:-m") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "drift:--level") return ;;
    "drift:--tile") return ;;
    "drift:--tile-overlap") return ;;
    "drift:--precision") words="fp32 fp32-winograd bf16 int8 auto" ;;
    "drift:--threads") return ;;
    "drift:--cache-dir") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "drift:--cache-limit") return ;;
    "drift:--max-pixels") return ;;
    "plot:--output" | "plot:-o") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "inspect:--model" | "inspect:-m") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "inspect:--photos") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "inspect:--report") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "inspect:--top") return ;;
    "inspect:--distrust") return ;;
    "inspect:--export-clean") return ;;
    "inspect:--export-suspects") return ;;
    "inspect:--threads") return ;;
    "inspect:--cache-dir") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "inspect:--cache-limit") return ;;
    "inspect:--max-pixels") return ;;
    "mutual:--top") return ;;
    "mutual:--maps") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "mutual:--report") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "mutual:--taps") return ;;
    "mutual:--image-size") return ;;
    "mutual:--fit") words="squash letterbox crop" ;;
    "mutual:--resize") return ;;
    "mutual:--roi") return ;;
    "mutual:--ignore-mask") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "mutual:--candidates") return ;;
    "mutual:--nearest") return ;;
    "mutual:--same-piece") words="leave-out keep" ;;
    "mutual:--neighbourhood") words="auto 1 3" ;;
    "mutual:--among") words="auto similar drawn" ;;
    "mutual:--width") return ;;
    "mutual:--seed") return ;;
    "mutual:--memory") return ;;
    "mutual:--precision") words="fp32 fp32-winograd bf16 int8" ;;
    "mutual:--threads") return ;;
    "mutual:--data") return ;;
    "mutual:--layout") return ;;
    "mutual:--category") return ;;
    "mutual:--resamples") return ;;
    "mutual:--save-scores") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "mutual:--cache-dir") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "mutual:--cache-limit") return ;;
    "mutual:--max-pixels") return ;;
    "features:--tap") return ;;
    "features:--output" | "features:-o") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "features:--tensor") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "features:--patch-taps") return ;;
    "features:--feature-width") return ;;
    "features:--feature-scale") return ;;
    "features:--image-size") return ;;
    "features:--fit") words="squash letterbox crop" ;;
    "features:--resize") return ;;
    "features:--precision") words="fp32 fp32-winograd bf16 int8" ;;
    "features:--threads") return ;;
    "features:--max-pixels") return ;;
    "weights convert:--quantise-on") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "weights convert:--photos") return ;;
    "weights convert:--image-size") return ;;
    "weights convert:--threads") return ;;
    "weights convert:--max-pixels") return ;;
    "weights fetch:--mirror") return ;;
    "weights fetch:--to") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "data check:--layout") return ;;
    "data check:--max-pixels") return ;;
    "cache:--cache-dir") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "cache:--keep") return ;;
    "bench:--precision") return ;;
    "bench:--taps") return ;;
    "bench:--image-size") return ;;
    "bench:--photo-size") return ;;
    "bench:--batch") return ;;
    "bench:--threads") return ;;
    "bench:--repeat") return ;;
    "bench:--stage") words="all preprocess backbone pooling head map total" ;;
    "bench:--against") words="onnxruntime pytorch" ;;
    "bench:--peers") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "bench:--keep") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "synth:--scenes") return ;;
    "synth:--normal") return ;;
    "synth:--test-good") return ;;
    "synth:--test-bad") return ;;
    "synth:--size") return ;;
    "synth:--seed") return ;;
    "ablate:--config") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "ablate:--rows") return ;;
    "ablate:--source") return ;;
    "ablate:--target") return ;;
    "ablate:--seeds") return ;;
    "ablate:--output" | "ablate:-o") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "ablate:--threads") return ;;
    "ablate:--cache-dir") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "ablate:--cache-limit") return ;;
    *:--backbone)
        mapfile -t COMPREPLY < <(compgen -W "builtin wide_resnet50_2 wide_resnet101_2 resnet18 resnet34 resnet50 resnet101" -- "$current"; compgen -f -- "$current")
        return
        ;;
    esac
    if [ -n "$words" ]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
        return
    fi
    case $verb in
    "train") options="--normal --data --layout --source --exclude --shots --roi --ignore-mask --image-size --fit --resize --max-pixels --output --method --literal --epochs --batch --patches-per-image --lr-adaptor --lr-discriminator --seed --precision --quantise --threads --backbone --taps --feature-width --neighbourhood --feature-scale --detector --hidden-width --noise-std --margin-positive --margin-negative --top-k --simplenet-compat --descriptor --negatives --synthetic --flow-level --flow-blocks --flow-hidden --flow-project --flow-clamp --lr-flow --bank --bank-select --rotations --scl --data-uncertainty --model-uncertainty --hard-cl --confidence-unit --weight-anchor --weight-both --weight-floor --weight-window --kappa --gamma --lambda0 --uncertainty-pairs --uncertainty-scale --det-max --decay --loss-reduction --contrast --lambda-cont --knn --temperature --contrast-chunk --contrast-literal --contrast-in --meta --meta-gradient --tasks --inner-steps --inner-lr --query-share --balance --config --print-config --log --checkpoint-every --resume --cache-dir --cache-limit --no-cache --json --quiet --help" ;;
    "score") options="--model --backbone --maps --overlay --range --report --gate --fdr --no-decision --regions --min-area --mm-per-pixel --roi --ignore-mask --fit --batch --tile --tile-overlap --precision --workers --threads --cache-dir --cache-limit --no-cache --max-pixels --json --csv --quiet --help" ;;
    "serve") options="--model --model-dir --backbone --precision --threads --max-batch --host --port --allow-host --auth-token-file --insecure --tls-cert --tls-key --max-body --max-bodies --max-pixels --max-connections --queue --timeout --idle-timeout --drain --state-dir --quota --retention --history --results --webhook --mqtt --anomalies-only --json-log --quiet --help" ;;
    "eval") options="--model --backbone --data --layout --category --normal --abnormal --masks --at --threshold --pixel-threshold --min-area --mm-per-pixel --resamples --seed --exact --simplenet-compat --best-of --report --overlays --save-scores --save-maps --suite --root --visa-model --tile --tile-overlap --precision --workers --threads --cache-dir --cache-limit --no-cache --max-pixels --json --csv --contaminate --contaminate-from --contaminate-keep-in-test --contaminate-most --contaminate-cap --seeds --methods --detectors --with --output --resume --keep-models --quiet --help" ;;
    "metrics") options="--maps --data --at --threshold --pixel-threshold --min-area --mm-per-pixel --resamples --seed --exact --simplenet-compat --threads --max-pixels --json --csv --quiet --help" ;;
    "compare") options="--method --resamples --seed --json --quiet --help" ;;
    "adapt") options="--model --normal --photos --output --steps --inner-lr --patches-per-image --seed --backbone --precision --threads --cache-dir --cache-limit --no-cache --max-pixels --json --quiet --help" ;;
    "calibrate") options="--model --normal --unlabelled --contamination --output --rule --fpr --confidence --strict --abnormal --cost-miss --cost-alarm --pixel-quantile --allow-training-photos --backbone --tile --tile-overlap --precision --threads --cache-dir --cache-limit --no-cache --max-pixels --json --quiet --help" ;;
    "drift") options="--model --level --backbone --tile --tile-overlap --precision --threads --cache-dir --cache-limit --no-cache --max-pixels --json --quiet --help" ;;
    "plot") options="--output --json --quiet --help" ;;
    "info") options="--json --quiet --help" ;;
    "inspect") options="--model --photos --report --top --distrust --export-clean --export-suspects --backbone --threads --cache-dir --cache-limit --no-cache --max-pixels --json --csv --quiet --help" ;;
    "mutual") options="--top --maps --overlay --report --backbone --taps --image-size --fit --resize --roi --ignore-mask --candidates --nearest --same-piece --neighbourhood --among --width --seed --memory --precision --threads --data --layout --category --resamples --save-scores --cache-dir --cache-limit --no-cache --max-pixels --json --csv --quiet --help" ;;
    "features") options="--backbone --tap --output --tensor --patch-taps --feature-width --feature-scale --image-size --fit --resize --precision --threads --max-pixels --quiet --help" ;;
    "weights list") options="--json --quiet --help" ;;
    "weights inspect") options="--json --quiet --help" ;;
    "weights convert") options="--quantise-on --photos --image-size --threads --max-pixels --quiet --help" ;;
    "weights verify") options="--json --quiet --help" ;;
    "weights fetch") options="--mirror --to --quiet --help" ;;
    "data check") options="--layout --max-pixels --json --quiet --help" ;;
    "cache") options="--cache-dir --keep --json --quiet --help" ;;
    "bench") options="--backbone --random --precision --taps --image-size --photo-size --batch --threads --repeat --stage --against --peers --keep --json --quiet --help" ;;
    "synth") options="--scenes --normal --test-good --test-bad --size --seed --force --json --quiet --help" ;;
    "ablate") options="--config --rows --source --target --seeds --output --backbone --keep-models --dry-run --threads --cache-dir --cache-limit --no-cache --json --quiet --help" ;;
    *) options="--help" ;;
    esac
    case $current in
    -*) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current") ;;
    *) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    esac
}
complete -o filenames -F _cozad cozad
