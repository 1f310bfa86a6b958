#!/bin/sh
# Run a command on a GPU that no other container of this machine has: one-gpu cotrain work --forever
#
# Docker gives containers of one scaled service the same GPUs. So each takes a lock, named by the GPU, in a folder
# that they share; the kernel frees it when the process ends, however that is.
set -eu

locks=${GPU_LOCKS:-/cotrain/gpus}
gpus=$(nvidia-smi --query-gpu=uuid --format=csv,noheader) || {
    echo "one-gpu: no GPU in this container. Does the host have the NVIDIA Container Toolkit, and does the" \
        "container ask for GPUs (--gpus all, or devices in compose.yaml)?" >&2
    exit 1
}
for gpu in $gpus; do
    exec 9>>"$locks/$gpu"
    if flock --nonblock 9; then
        export CUDA_VISIBLE_DEVICES="$gpu"
        exec "$@" # the lock stays open in the command's process
    fi
done
echo "one-gpu: each of these GPUs has a worker: $gpus. Start no more workers than GPUs." >&2
exit 1
