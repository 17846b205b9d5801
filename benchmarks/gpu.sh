#!/usr/bin/env bash
# The measurements that need a GPU, in pieces of at most ten minutes. A piece that has a result is skipped, so run it
# again after an interruption, or to take up pieces that are new.
#
#   REFERENCE=PATH benchmarks/gpu.sh [FOLDER]     results: FOLDER/PIECE.json and PIECE.log; default: $OUT, else work/gpu
#   benchmarks/gpu.sh --list [FOLDER]             what there is, and what of it is done; needs no GPU
#
# REFERENCE  a clone of https://github.com/Walter0807/MotionBERT, for the pieces that compare with it
# CARRY      what benchmarks/cmu_gpu.py packed, for the experiment on real motion; default: work/carry
# ONLY       names of pieces, separated by blanks; default: all
# DONE       another folder whose results count as done (where FOLDER starts empty each time)
# LIMIT_S    seconds for all; a piece that may not end within them is left for the next run; default: no limit
# PYTHON     default: .venv/bin/python, else python3. It needs langpose's libraries; langpose itself is taken from here
#
# Exit status: 0 nothing is left, 1 a piece failed, 2 no GPU or wrong use, 3 pieces are left.
set -u
absolute() { case "$1" in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }

list=no
if [ "${1:-}" = --list ]; then list=yes; shift; fi
case "${1:-}" in -*) sed -n '2,16p' "$0" >&2; exit 2 ;; esac
folder=${1:-${OUT:-}}
[ -z "$folder" ] || folder=$(absolute "$folder")
[ -z "${DONE:-}" ] || DONE=$(absolute "$DONE")
[ -z "${REFERENCE:-}" ] || REFERENCE=$(absolute "$REFERENCE")
cd "$(dirname "$0")/.." || exit 2
folder=${folder:-$PWD/work/gpu}
CARRY=${CARRY:-work/carry}

# name | longest minutes | needs REFERENCE (yes) or CARRY (carry) | command
PIECES="
train_64     | 6  | yes | benchmarks/train_step.py --device cuda --batch 64 --theirs fp32 bf16 --repeats 3 --profile
compiled_64  | 4  | yes | benchmarks/train_step.py --device cuda --batch 64 --theirs bf16 --repeats 3 --compile --profile
cmu          | 10 | carry | benchmarks/cmu_gpu.py run $CARRY $folder/cmu-gpu --minutes ${CMU_MINUTES:-9} --jobs 6
inference    | 4  | yes | benchmarks/inference.py --device cuda --batch 64 --repeats 5 --turn-s 0.2
train_16     | 4  | yes | benchmarks/train_step.py --device cuda --batch 16 --theirs fp32 bf16 --repeats 5
reduced_body | 2  | no  | benchmarks/body_device.py --device cuda
waiting      | 4  | no  | benchmarks/waiting.py --model paper --precision bf16 --hours 10 --workers 0 4 --epochs 4
matmul       | 2  | no  | benchmarks/machine.py --device cuda
"

PYTHON=${PYTHON:-$(test -x .venv/bin/python && echo .venv/bin/python || echo python3)}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export PYTORCH_CUDA_ALLOC_CONF=${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}  # sides of unlike sizes share memory

is_done() { [ -s "$folder/$1.json" ] || { [ -n "${DONE:-}" ] && [ -s "$DONE/$1.json" ]; }; }

if [ $list = no ]; then
    "$PYTHON" -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else 9)'
    case $? in
        0) ;;
        9) echo "gpu.sh: torch of $PYTHON sees no GPU on this machine; --list says what would run" >&2; exit 2 ;;
        *) echo "gpu.sh: $PYTHON cannot import torch; name another with PYTHON=" >&2; exit 2 ;;
    esac
    if [ -n "${REFERENCE:-}" ] && [ ! -f "$REFERENCE/lib/model/DSTformer.py" ]; then
        echo "gpu.sh: REFERENCE=$REFERENCE has no lib/model/DSTformer.py; expected a clone of Walter0807/MotionBERT" >&2
        exit 2
    fi
    mkdir -p "$folder" || exit 2
fi

failed=0 left=0
while IFS='|' read -r name minutes needs command; do
    name=${name// /} minutes=${minutes// /} needs=${needs// /} command=${command# }
    [ -n "$name" ] || continue
    if [ -n "${ONLY:-}" ] && [[ " $ONLY " != *" $name "* ]]; then continue; fi
    about="$command$([ "$needs" = yes ] && echo ' --reference $REFERENCE')"
    if is_done "$name"; then
        printf '%-14s done     %s\n' "$name" "$about"
        continue
    fi
    if [ $list = yes ]; then
        printf '%-14s to do    %s   (at most %s minutes)\n' "$name" "$about" "$minutes"
        continue
    fi
    if [ "$needs" = yes ] && [ -z "${REFERENCE:-}" ]; then
        printf '%-14s left     set REFERENCE to a clone of https://github.com/Walter0807/MotionBERT\n' "$name"
        left=1
        continue
    fi
    if [ "$needs" = carry ] && [ ! -d "$CARRY" ]; then
        printf '%-14s left     %s is absent: .venv/bin/python benchmarks/cmu_gpu.py pack, where data/cmu is\n' "$name" "$CARRY"
        left=1
        continue
    fi
    seconds=$((minutes * 60))
    if [ -n "${LIMIT_S:-}" ] && [ $((SECONDS + seconds)) -gt "$LIMIT_S" ]; then
        printf '%-14s left     needs up to %s minutes, %s s remain\n' "$name" "$minutes" $((LIMIT_S - SECONDS))
        left=1
        continue
    fi
    [ "$needs" = yes ] && command="$command --reference"
    read -r -a words <<<"$command"
    [ "$needs" = yes ] && words+=("$REFERENCE")
    begun=$SECONDS
    timeout "$seconds" "$PYTHON" "${words[@]}" --json "$folder/$name.part" >"$folder/$name.log" 2>&1
    status=$?
    if [ $status = 0 ]; then
        mv "$folder/$name.part" "$folder/$name.json"
        printf '%-14s %4d s   %s\n' "$name" $((SECONDS - begun)) "$(tail -n 1 "$folder/$name.log")"
    elif [ $status = 75 ]; then
        printf '%-14s left     stopped in time; the next run goes on\n' "$name"
        left=1
    else
        printf '%-14s FAILED   %s, see %s\n' "$name" \
            "$([ $status = 124 ] && echo "not done in $minutes minutes" || echo "exit $status")" "$folder/$name.log"
        rm -f "$folder/$name.part"
        failed=1
    fi
done <<<"$PIECES"
[ $failed = 0 ] || exit 1
[ $left = 0 ] || exit 3
