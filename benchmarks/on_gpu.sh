#!/bin/sh
# What only a machine with a CUDA GPU can show, in under eight minutes: the tests that need one, and extraction
# from JPEGs against the bare forward pass of the same network (target: 90 % of its images per second).
#
#   benchmarks/on_gpu.sh                # PYTHON and the variables below may be set
#   DEVICE=cpu IMAGES=24 MODELS=resnet18 WORKERS=1 BATCH=8 SIZE=64 benchmarks/on_gpu.sh     # to see that it runs
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
device=${DEVICE:-cuda}
images=${IMAGES:-8192}
models=${MODELS:-resnet50 vit_b_16}
workers=${WORKERS:-$("$python" -c 'import os; print(len(os.sched_getaffinity(0)))')}
batch=${BATCH:-256}
size=${SIZE:-224}

if [ "$device" = cuda ]; then
    "$python" -c 'import torch; print("GPU:", torch.cuda.get_device_name())' || { echo "there is no CUDA GPU here" >&2; exit 1; }
    # shellcheck disable=SC2046 -- a list of files
    timeout 150 "$python" -m pytest -n 0 -q $(grep -rl "cuda.is_available" tests --include='test_*.py') || echo "tests: FAILED"
fi
for how in "--precision fp32" "--precision bf16 --channels-last"; do
    for count in "$workers" 0; do  # processes, then threads
        # shellcheck disable=SC2086 -- several words
        timeout 75 "$python" benchmarks/loading.py --extract $models --device "$device" --images "$images" \
            --rounds 1 --readers "$count" --batch "$batch" --size "$size" $how || echo "FAILED: $how, $count processes"
    done
done
