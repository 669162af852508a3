#!/usr/bin/env bash
# From the published NRE checkpoints to a localized query: localizes the target
# of the NRE repository's example pair in a model made of its source, and
# compares with the published pose. Builds first, if there is no executable.
#
# Usage: scripts/localize_sample.sh [--features PRESET] [--checkpoints FOLDER]
#            SAMPLE_FOLDER OUTPUT_FOLDER
#   --features     nre (default), or dense_sift, which needs no checkpoints
#   --checkpoints  folder with coarse.pth and fine.pth, the weights/ of
#                  github.com/germain-hug/NRE
#   SAMPLE_FOLDER  assets/sample of the same: sample.npz and two images
#   OUTPUT_FOLDER  new or empty; gets the weights, the model, the results and
#                  pictures
# Exit codes are nre_localizer's: 0, or 3 if the query is not registered.
#
# Environment:
#   COLMAP_NRE  executable to use (default: build/bin/colmap_nre)
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/common.sh"

features=nre
checkpoints=
while [[ ${1:-} == --* ]]; do
  case "$1" in
    --features) features="${2:-}" ;;
    --checkpoints) checkpoints="${2:-}" ;;
    *) die "unknown option $1; expected --features or --checkpoints" ;;
  esac
  shift $(($# < 2 ? 1 : 2))
done
[[ $# == 2 ]] || die "expected two folders: SAMPLE_FOLDER OUTPUT_FOLDER"
sample="$1" output="$2"

case "$features" in
  nre)
    [[ -f $checkpoints/coarse.pth && -f $checkpoints/fine.pth ]] ||
      die "no coarse.pth and fine.pth in '$checkpoints'. Expected" \
        "--checkpoints, the folder weights/ of github.com/germain-hug/NRE"
    ;;
  dense_sift) ;;
  *) die "--features is '$features'; expected nre or dense_sift" ;;
esac
[[ -f $sample/sample.npz ]] || die "no sample.npz in '$sample'. Expected" \
  "the folder assets/sample of github.com/germain-hug/NRE"
[[ ! -e $output || (-d $output && -z "$(ls -A "$output")") ]] ||
  die "$output is not an empty folder"

colmap_nre="${COLMAP_NRE:-$here/../build/bin/colmap_nre}"
[[ -n ${COLMAP_NRE:-} || -x $colmap_nre ]] || "$here/build.sh"
python=/usr/bin/python3  # The set-up gives it numpy; the PATH's may lack it.

mkdir -p "$output"
"$python" "$here/nre_sample_to_colmap.py" "$sample" "$output"
weights=()
if [[ $features == nre ]]; then
  mkdir "$output/weights"
  for level in coarse fine; do
    "$python" "$here/convert_weights.py" "nre_$level" \
      "$checkpoints/$level.pth" "$output/weights/nre_$level.safetensors"
  done
  weights=(--weights_path "$output/weights")
fi

# Exit code 3: done, but the query is not registered.
status=0
"$colmap_nre" nre_localizer --input_path "$output/map" \
  --image_path "$sample" --query_list_path "$output/queries.txt" \
  --features "$features" "${weights[@]}" --output_path "$output/localized" \
  --visualization_path "$output/pictures" --log_level 2 || status=$?
[[ $status == 0 || $status == 3 ]] || exit "$status"

# The sample's unit of length is arbitrary.
"$colmap_nre" pose_evaluator --gt_path "$output/truth.txt" \
  --result_paths "$output/localized/report.jsonl" --names "$features" \
  --query_list_path "$output/queries.txt" --model_path "$output/map" \
  --thresholds "0.2%,0.1;1%,0.5;5%,5"
printf '%s\n' "All of it is in $output; pictures/ shows the reprojections."
exit "$status"
