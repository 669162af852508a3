#!/usr/bin/env bash
# How exactly keypoints are matched, beside COLMAP's SIFT, on pairs of images
# with known homographies; see matching_study.cc.
#
#   matching_study.sh PHOTO_FOLDER OUTPUT_FOLDER [NUM_PHOTOS [MAX_SIZE]]
#   matching_study.sh --hpatches FOLDER OUTPUT_FOLDER
#
# The first makes pairs of 40 (or NUM_PHOTOS) photographs, larger side 640 px (or
# MAX_SIZE) at most; the second takes a folder with sequences as HPatches has them. OUTPUT_FOLDER, new, gets the pairs
# and the database.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../common.sh"
source "$here/sift_database.sh"
study="$here/../../build/bin/matching_study"

hpatches=
if [[ ${1:-} == --hpatches ]]; then
  hpatches=1
  shift
fi
[[ $# -ge 2 ]] || die "usage: [--hpatches] FOLDER OUTPUT_FOLDER [NUM_PHOTOS [MAX_SIZE]]"
[[ -x $study ]] || die "build first: scripts/build.sh"
[[ ! -e $2 ]] || die "$2 exists already"
export OPENBLAS_NUM_THREADS=1

images="$2"
if [[ -n $hpatches ]]; then
  mkdir -p "$2"
  images="$1"
  for sequence in "$1"/*/; do
    name="$(basename "$sequence")"
    first="$(cd "$1" && ls "$name"/1.*)"
    for k in 2 3 4 5 6; do
      [[ ! -e $sequence/H_1_$k ]] || echo "$first $(cd "$1" && ls "$name/$k".*)"
    done
  done >"$2/pairs.txt"
else
  "$study" generate "$1" "$2" "${3:-40}" "${4:-640}"
fi

sift_database "$images" "$2/pairs.txt" "$2/database.db" "$2/colmap.log"
"$study" evaluate "$images" "$2/database.db" 2>>"$2/colmap.log"
