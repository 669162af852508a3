#!/usr/bin/env bash
# The paper's protocol on a COLMAP model, all methods beside COLMAP's SIFT; see
# pair_study.cc.
#
#   pair_study.sh MODEL_FOLDER IMAGE_FOLDER OUTPUT_FOLDER [OPTION VALUE ...]
#
# The options are pair_study's. OUTPUT_FOLDER gets the pairs, the database of
# their SIFT features and matches, the results and the tables; what it has
# already is not done again.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../common.sh"
source "$here/sift_database.sh"
study="${PAIR_STUDY:-$here/../../build/bin/pair_study}"

[[ $# -ge 3 ]] || die "usage: MODEL_FOLDER IMAGE_FOLDER OUTPUT_FOLDER [OPTION VALUE ...]"
[[ -x $study ]] || die "build first: scripts/build.sh"
model="$1" images="$2" out="$3"
shift 3
mkdir -p "$out"
export OPENBLAS_NUM_THREADS=1

"$study" --model_path "$model" "$@" --list_path "$out/pairs.txt"
# Written last: a database that a kill left behind is not taken for a whole one.
if ! cmp -s "$out/pairs.txt" "$out/matched_pairs.txt"; then
  rm -f "$out/sift.db"
  sift_database "$images" "$out/pairs.txt" "$out/sift.db" "$out/colmap.log"
  cp "$out/pairs.txt" "$out/matched_pairs.txt"
fi
"$study" --model_path "$model" --image_path "$images" \
  --methods nre,re,lo_ransac,magsac,sift --sift_database_path "$out/sift.db" \
  --results "$out/results.tsv" "$@" | tee "$out/tables.md"
