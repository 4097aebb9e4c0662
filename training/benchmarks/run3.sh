#!/bin/bash
# From the repository root; OUT set; /tmp/site has einops and mamba_ssm. About 100 s.
export PYTHONPATH=/tmp/site:training/src PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 TORCHINDUCTOR_COMPILE_THREADS=4 TRITON_CACHE_AUTOTUNING=1
rm -f /tmp/v_*.py
for i in $(seq 0 15); do WORKER=$i/16 timeout 45 python3 training/benchmarks/t3.py > $OUT/w$i.txt 2>&1 & done; wait
LIMIT=45 timeout 60 python3 training/benchmarks/t3.py > $OUT/log.txt 2>&1
tail -c 9000 $OUT/log.txt; head -60 $OUT/prof.txt
[ -n "$PEER_S" ] && timeout $PEER_S python3 training/benchmarks/kernels.py --parts loss correct core mixer step --shapes starter 700m 2>&1 | tee $OUT/peers.txt
