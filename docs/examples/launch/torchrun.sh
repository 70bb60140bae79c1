#!/bin/sh
# Two processes on this machine; the same on each of several nodes with NODES, NODE and ADDRESS set.
#   sh torchrun.sh --config vision/mae-digits --out runs/mae --ckpt_path last
exec torchrun \
    --nnodes "${NODES:-1}" \
    --node-rank "${NODE:-0}" \
    --master-addr "${ADDRESS:-127.0.0.1}" \
    --master-port "${PORT:-29500}" \
    --nproc-per-node "${PROCESSES:-2}" \
    -m unmask fit "$@"
