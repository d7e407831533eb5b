#!/usr/bin/env bash
# Carries out configs/campaigns/gpu-vllm.yaml on a bare x86-64 GPU host, with what belongs beside it: telemetry next to
# nvidia-smi, and throughput bare against under the harness. Needs root, a Docker engine that answers, and a `python3` with PyTorch,
# transformers and this project's dependencies (PYTHONPATH will do).
#
#   benchmarks/gpu_host.sh OUT [campaign|telemetry|perturbation|pack]...     (default: all four, in this order)
#
# CONFIG names another campaign file, ARM the arm of the perturbation pairs, PAIRS their number, SECONDS_EACH a telemetry rate's time.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(mkdir -p "$1" && cd "$1" && pwd); shift
config=${CONFIG:-configs/campaigns/gpu-vllm.yaml}
name=$(sed -n 's/^name: *//p' "$config")
failed=0
step() { echo "== $*"; "$@" || { code=$?; echo "== ended with code $code"; return $code; }; }

for part in "${@:-campaign telemetry perturbation pack}"; do for what in $part; do case $what in
  campaign)
    [ -f .campaign/images/gpu-host.tar ] || step python3 -m benchmarks.gpu_image .campaign/images/gpu-host.tar || exit 1
    step python3 -m campaign run "$config" --no-report 2>&1 | tee -a "$out/campaign.log" || failed=1
    step python3 -m campaign verify "results/$name" 2>&1 | tee "$out/verify.log" || failed=1 ;;
  telemetry)
    step python3 -m benchmarks.telemetry --seconds "${SECONDS_EACH:-20}" --json "$out/telemetry.json" \
      2>&1 | tee "$out/telemetry.log" || failed=1 ;;
  perturbation)
    step python3 -m benchmarks.gpu_perturbation "$config" "${ARM:-native-chroot-nodes}" --pairs "${PAIRS:-8}" \
      --json "$out/perturbation.json" 2>&1 | tee "$out/perturbation.log" || failed=1 ;;
  pack)
    tar -C results -c "$name" | xz -T0 -6 > "$out/$name.tar.xz"; ls -l "$out" ;;
  *) echo "no part is called $what"; exit 2 ;;
esac; done; done
exit $failed
