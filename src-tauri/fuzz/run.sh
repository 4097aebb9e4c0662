#!/bin/sh
# Runs every target that was built, one after another or all at once, and prints a summary.
# Usage: sh run.sh SECONDS FORKS OUT [BINARIES [CORPUS]]     (exit 1 if anything was found)
# 30 minutes of fuzzing a target on many cores: SECONDS x FORKS >= 1800.
set -u
seconds=$1 forks=$2 out=$3
here=$(cd "$(dirname "$0")" && pwd)
bins=${4:-$(ls -d "$here"/target/*-*/release | head -1)} corpus=${5:-$here/corpus}
mkdir -p "$out"
targets=""
for t in header tensor_table tensor_views chat_template snapshot; do
    [ -x "$bins/$t" ] || continue
    targets="$targets $t"
    mkdir -p "$out/corpus-$t" "$out/artifacts-$t" "$corpus/$t"
    dict=""
    [ -f "$here/dictionaries/gguf.dict" ] && [ "$t" != chat_template ] && dict="-dict=$here/dictionaries/gguf.dict"
    "$bins/$t" -fork="$forks" -max_total_time="$seconds" -max_len=65536 -timeout=20 -rss_limit_mb=2048 -detect_leaks=0 \
        $dict -artifact_prefix="$out/artifacts-$t/" "$out/corpus-$t" "$corpus/$t" >"$out/$t.log" 2>&1 &
done
wait
found=0
for t in $targets; do
    crashes=$(find "$out/artifacts-$t" -type f | wc -l)
    last=$(grep '^#' "$out/$t.log" | tail -1)
    echo "$t: $crashes found; $last"
    [ "$crashes" -eq 0 ] || found=1
done
rm -rf "$out"/corpus-*
exit $found
