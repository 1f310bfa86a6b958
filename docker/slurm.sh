#!/bin/bash
#SBATCH --job-name=cotrain
#SBATCH --array=1-40%4
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=08:00:00
#SBATCH --signal=TERM@300
#SBATCH --output=cotrain-%A_%a.log
# Workers under Slurm with Apptainer: 40 jobs, 4 at a time. Each trains what is in the queue until its time is nearly
# over; then SIGTERM makes it write a checkpoint and put its run back, and the next job goes on from there. Jobs that
# find the queue empty end at once. `--signal` without `B:` tells the step below, not this shell.
set -eu
: "${SHARED:?a folder that all nodes see, with cotrain.sif, home/, data/ and secrets/}"

export APPTAINERENV_DJ_HOST=${DATABASE_HOST:?the host of the database}
export APPTAINERENV_DJ_BACKEND=postgresql
export APPTAINERENV_DJ_USER=cotrain
export APPTAINERENV_DJ_DATABASE_NAME=cotrain
export APPTAINERENV_DJ_PASS_FILE=/run/secrets/database_password
digest=$(sha256sum "$SHARED/cotrain.sif" | cut -d' ' -f1)
export APPTAINERENV_COTRAIN_IMAGE=cotrain.sif@sha256:$digest

srun apptainer exec --nv --cleanenv --pwd /cotrain \
    --bind "$SHARED/home:/cotrain/home" --bind "$SHARED/data:/cotrain/data:ro" \
    --bind "$SHARED/secrets/database_password:/run/secrets/database_password:ro" \
    "$SHARED/cotrain.sif" cotrain work --until-empty
