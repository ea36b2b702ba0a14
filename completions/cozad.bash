# SPDX-License-Identifier: Apache-2.0
# Bash completion for cozad. Written by scripts/check-man --update from the --help of every verb.
_cozad() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]:-} options words=
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "train score eval info features weights cache bench synth --help --version" -- "$current")
        return
    fi
    case $verb in
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
    "train:--layout") words="auto mvtec csv" ;;
    "train:--output" | "train:-o") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "train:--method") return ;;
    "train:--detector") return ;;
    "train:--taps") return ;;
    "train:--image-size") return ;;
    "train:--fit") words="squash letterbox crop" ;;
    "train:--resize") return ;;
    "train:--roi") return ;;
    "train:--ignore-mask") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "train:--epochs") return ;;
    "train:--batch") return ;;
    "train:--patches-per-image") return ;;
    "train:--seed") return ;;
    "train:--noise-std") return ;;
    "train:--margin-positive") return ;;
    "train:--margin-negative") return ;;
    "train:--lr-adaptor") return ;;
    "train:--lr-discriminator") return ;;
    "train:--feature-width") return ;;
    "train:--hidden-width") return ;;
    "train:--feature-scale") return ;;
    "train:--top-k") return ;;
    "train:--threads") return ;;
    "train:--cache-dir") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "train:--cache-limit") return ;;
    "train:--max-pixels") return ;;
    "score:--model" | "score:-m") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "score:--maps") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "score:--range") return ;;
    "score:--report") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "score:--gate") return ;;
    "score:--roi") return ;;
    "score:--ignore-mask") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "score:--fit") words="squash letterbox crop" ;;
    "score:--batch") return ;;
    "score:--threads") return ;;
    "score:--cache-dir") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "score:--cache-limit") return ;;
    "score:--max-pixels") return ;;
    "eval:--model" | "eval:-m") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "eval:--data") return ;;
    "eval:--layout") words="auto mvtec csv" ;;
    "eval:--report") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "eval:--overlays") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "eval:--threads") return ;;
    "eval:--cache-dir") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "eval:--cache-limit") return ;;
    "eval:--max-pixels") return ;;
    "features:--tap") return ;;
    "features:--output" | "features:-o") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "features:--tensor") mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    "features:--patch-taps") return ;;
    "features:--feature-width") return ;;
    "features:--feature-scale") return ;;
    "features:--image-size") return ;;
    "features:--fit") words="squash letterbox crop" ;;
    "features:--resize") return ;;
    "features:--threads") return ;;
    "features:--max-pixels") return ;;
    "weights fetch:--mirror") return ;;
    "weights fetch:--to") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "cache:--cache-dir") mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    "cache:--keep") return ;;
    "bench:--taps") return ;;
    "bench:--image-size") return ;;
    "bench:--photo-size") return ;;
    "bench:--batch") return ;;
    "bench:--threads") return ;;
    "bench:--repeat") return ;;
    "synth:--scenes") return ;;
    "synth:--normal") return ;;
    "synth:--test-good") return ;;
    "synth:--test-bad") return ;;
    "synth:--size") return ;;
    "synth:--seed") return ;;
    *:--backbone)
        mapfile -t COMPREPLY < <(compgen -W "wide_resnet50_2 wide_resnet101_2 resnet18 resnet34 resnet50 resnet101" -- "$current"; compgen -f -- "$current")
        return
        ;;
    esac
    if [ -n "$words" ]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
        return
    fi
    case $verb in
    "train") options="--normal --data --layout --output --method --detector --backbone --taps --image-size --fit --resize --roi --ignore-mask --epochs --batch --patches-per-image --seed --noise-std --margin-positive --margin-negative --lr-adaptor --lr-discriminator --feature-width --hidden-width --feature-scale --top-k --simplenet-compat --threads --cache-dir --cache-limit --no-cache --max-pixels --json --quiet --help" ;;
    "score") options="--model --backbone --maps --overlay --range --report --gate --roi --ignore-mask --fit --batch --threads --cache-dir --cache-limit --no-cache --max-pixels --json --csv --quiet --help" ;;
    "eval") options="--model --backbone --data --layout --report --overlays --threads --cache-dir --cache-limit --no-cache --max-pixels --json --quiet --help" ;;
    "info") options="--json --quiet --help" ;;
    "features") options="--backbone --tap --output --tensor --patch-taps --feature-width --feature-scale --image-size --fit --resize --threads --max-pixels --quiet --help" ;;
    "weights list") options="--json --quiet --help" ;;
    "weights inspect") options="--json --quiet --help" ;;
    "weights convert") options="--quiet --help" ;;
    "weights verify") options="--json --quiet --help" ;;
    "weights fetch") options="--mirror --to --quiet --help" ;;
    "cache") options="--cache-dir --keep --json --quiet --help" ;;
    "bench") options="--backbone --taps --image-size --photo-size --batch --threads --repeat --json --quiet --help" ;;
    "synth") options="--scenes --normal --test-good --test-bad --size --seed --force --json --quiet --help" ;;
    *) options="--help" ;;
    esac
    case $current in
    -*) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current") ;;
    *) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    esac
}
complete -o filenames -F _cozad cozad
