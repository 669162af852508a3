#!/usr/bin/env bash
# What COLMAP's mapper makes of COLMAP's keypoints with its own matches and with
# those of s2d_matcher, merged with several radii, beside surveyed poses.
#
#   [FEATURES=dense_sift] reconstruction_study.sh SCENE OUTPUT_FOLDER \
#     [SNAP,MERGE...]
#
# FEATURES: a preset. SCENE: a folder such as ../shared/datasets/fountain;
# SNAP,MERGE: radii in cells, by default several. OUTPUT_FOLDER, new, gets
# databases and models.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../common.sh"
bin="$here/../../build/bin"
colmap="$colmap_prefix/bin/colmap"

[[ $# -ge 2 ]] || die "usage: SCENE OUTPUT_FOLDER [SNAP,MERGE...]"
[[ -x $bin/reconstruction_study ]] || die "build first: scripts/build.sh"
[[ ! -e $2 ]] || die "$2 exists already"
scene="$1" output="$2"
shift 2
radii=("$@")
[[ $# -gt 0 ]] || radii=(0,0 0,0.5 0.25,0 0.25,0.25 0.25,0.5 0.25,1 0.5,0.5 0.5,1 1,1)
mkdir -p "$output"

# map DATABASE: prints how good the model of its matches is.
map() {
  mkdir "$1.sparse"
  "$colmap" mapper --database_path "$1" --image_path "$scene/images" \
    --output_path "$1.sparse" --Mapper.ba_refine_focal_length 0 \
    --Mapper.ba_refine_extra_params 0 >"$1.log" 2>&1 ||
    die "mapper failed (see $1.log)"
  "$bin/reconstruction_study" "$scene" "$1.sparse/0"
}

extraction=SiftExtraction matching=SiftMatching
if [[ "$("$colmap" feature_extractor -h 2>&1)" == *FeatureExtraction.use_gpu* ]]; then
  extraction=FeatureExtraction matching=FeatureMatching  # COLMAP 4
fi
params="$(awk 'NR == 1 { print $5 "," $6 "," $7 "," $8 }' "$scene/queries.txt")"
"$colmap" feature_extractor --database_path "$output/keypoints.db" \
  --image_path "$scene/images" --ImageReader.single_camera 1 \
  --ImageReader.camera_model PINHOLE --ImageReader.camera_params "$params" \
  --SiftExtraction.max_num_features 2000 "--$extraction.use_gpu" 0 \
  >"$output/extraction.log" 2>&1 ||
  die "feature_extractor failed (see $output/extraction.log)"

cp "$output/keypoints.db" "$output/sift.db"
"$colmap" exhaustive_matcher --database_path "$output/sift.db" \
  "--$matching.use_gpu" 0 >"$output/matching.log" 2>&1 ||
  die "exhaustive_matcher failed (see $output/matching.log)"
printf 'SIFT: '
map "$output/sift.db"

for pair in "${radii[@]}"; do
  "$bin/colmap_nre" s2d_matcher --database_path "$output/keypoints.db" \
    --image_path "$scene/images" --output_database_path "$output/$pair.db" \
    --features "${FEATURES:-dense_sift}" \
    --both_directions 1 --raw_matches_path "$output/raw_matches" \
    --Merging.snap_radius_cells "${pair%,*}" \
    --Merging.merge_radius_cells "${pair#*,}" 2>>"$output/matching.log"
  printf '%s: ' "$pair"
  map "$output/$pair.db"
done
