#!/bin/bash
# From the repository root; needs /tmp/site (einops, mamba_ssm). 16 workers compile every configuration first, then one process measures.
export PYTHONPATH=/tmp/site:training/src PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 TORCHINDUCTOR_COMPILE_THREADS=4
S=${SCRIPT:-training/benchmarks/t1.py}
for i in $(seq 0 15); do WORKER=$i/16 timeout 45 python3 $S > $OUT/w$i.txt 2>&1 & done; wait
LIMIT=45 timeout ${MAIN_S:-60} python3 $S > $OUT/log.txt 2>&1
tail -c 9000 $OUT/log.txt; head -60 $OUT/prof.txt
