#!/usr/bin/env bash
# Everything that wants a GPU, in one go: the tests that need one, calls of the network, and the bench by size and batch.
#
#     bash scripts/gpu.sh CHECKPOINT DEMOS OUT [SECONDS]
#
# For a checkout, installed or not: it needs Python with torch, triton, diffusers, safetensors, pydantic, tyro, rich, zarr,
# matplotlib, numba and pytest, and no simulator. Copy OUT/*.json and OUT/gpu/*.json to docs/results/gpu; `paradp study gpu` writes the page.
#
# Args:
#   CHECKPOINT: a checkpoint's directory.
#   DEMOS: demonstrations of its task, for observations.
#   OUT: where rows and logs go, case by case: what is done stays if time runs out. Calls go to OUT/gpu.
#   SECONDS: that a case of the bench may take, 90 by default; most of a first one goes into compiling kernels.
set -uo pipefail
checkpoint=$(realpath "$1") demos=$(realpath "$2") out=$(realpath -m "$3") limit=${4:-90}
task=$(python3 -c "import json, sys; print(json.load(open(sys.argv[1]))['spec']['task'])" "$checkpoint/config.json") || exit 2
python3 -c "import sys, torch; sys.exit(not torch.cuda.is_available())" 2> /dev/null ||
  { echo "gpu.sh needs a GPU of CUDA's, and a python3 with PyTorch for it" >&2; exit 2; }
cd "$(dirname "$0")/.."
mkdir -p "$out" build/paths/paradp
for room in sampler policy envs rollouts checkpoints scripts; do ln -sfn "../../../$room" "build/paths/paradp/$room"; done
export PYTHONPATH=$PWD/build/paths${PYTHONPATH:+:$PYTHONPATH} PARADP_CACHE=${PARADP_CACHE:-$out/cache} PYTHONUNBUFFERED=1

python3 - > "$out/machine.json" <<'EOF'
import json, platform, subprocess
import torch, triton
driver = subprocess.run(
    ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True, check=True
).stdout.strip()
versions = {"torch": torch.__version__, "triton": triton.__version__, "python": platform.python_version()}
print(json.dumps({"gpu": torch.cuda.get_device_name(), "driver": driver} | versions, indent=1))
EOF

python3 -m pytest -q -n 4 -p no:cacheprovider tests/policy/engines/test_fused.py tests/policy/learning/test_captured.py \
  tests/sampler/test_captured.py tests/sampler/test_triton.py 2>&1 | tee "$out/tests.log" | tail -n 20

python3 -m paradp.scripts study calls "$task" --out "$out"  # of the shipped policy

# Channels of the network and robots in a batch; what matters most comes first.
for case in "4 1" "1 1" "8 1" "4 8" "4 32" "2 1" "1 8" "1 32"; do
  read -r widen batch <<< "$case"
  echo "channels × $widen, batch $batch"
  timeout "$limit" python3 -m paradp.scripts bench "$task" --checkpoint "$checkpoint" --data "$demos" --device cuda --engines auto \
    --widen "$widen" --batch "$batch" --json "$out/bench-$widen-$batch.json" > "$out/bench-$widen-$batch.log" 2>&1 ||
    echo "not done within $limit s, or failed: $out/bench-$widen-$batch.log"
done
