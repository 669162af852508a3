#!/usr/bin/env bash
# Sets up, builds and shows the main job on an example that needs no download:
# renders a street scene, maps its pictures by COLMAP, registers queries under
# other light into the map and compares them with the truth. Everything it makes
# is in build/demo/, anew each time. Fails if a query comes out wrong.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/common.sh"

"$here/build.sh"

bin="$(cd "$here/../build/bin" && pwd)"
colmap="$colmap_prefix/bin/colmap"
[[ -x $colmap ]] || die "$colmap_prefix has no bin/colmap, which the demo needs"
demo="$here/../build/demo"
rm -rf "$demo"
mkdir -p "$demo/sparse"
demo="$(cd "$demo" && pwd)"
SECONDS=0

step() { printf '[demo %3d s] %s\n' "$SECONDS" "$*"; }

# Runs a COLMAP command with its output in a log; shows the log's end if it
# fails.
colmap() {
  "$colmap" "$@" >"$demo/$1.log" 2>&1 || {
    tail -n 20 "$demo/$1.log" >&2
    die "colmap $1 failed (full log: $demo/$1.log)"
  }
}

step "rendering the scene"
"$bin/render_scene" "$demo"

step "mapping it by COLMAP"
extraction=SiftExtraction matching=SiftMatching
if [[ "$("$colmap" feature_extractor -h 2>&1)" == *FeatureExtraction.use_gpu* ]]; then
  extraction=FeatureExtraction matching=FeatureMatching  # COLMAP 4
fi
colmap feature_extractor --database_path "$demo/database.db" \
  --image_path "$demo/images" --image_list_path "$demo/mapping.txt" \
  --ImageReader.single_camera 1 --ImageReader.camera_model PINHOLE \
  --ImageReader.camera_params "$(<"$demo/camera.txt")" \
  "--$extraction.use_gpu" 0 "--$extraction.num_threads" "$jobs" \
  --SiftExtraction.first_octave 0 --SiftExtraction.max_num_features 3000
colmap exhaustive_matcher --database_path "$demo/database.db" \
  "--$matching.use_gpu" 0 "--$matching.num_threads" "$jobs"
colmap mapper --database_path "$demo/database.db" \
  --image_path "$demo/images" --output_path "$demo/sparse" \
  --Mapper.ba_refine_focal_length 0 --Mapper.ba_refine_extra_params 0
[[ -d $demo/sparse/0 && ! -d $demo/sparse/1 ]] ||
  die "COLMAP made not one model but $(ls "$demo/sparse" | wc -l)"

# Exit code 3: done, but some queries are not registered. One of them must not.
step "registering the queries by NRE"
status=0
"$bin/colmap_nre" nre_image_registrator --input_path "$demo/sparse/0" \
  --output_path "$demo/registered" --image_path "$demo/images" \
  --query_list_path "$demo/queries.txt" \
  --visualization_path "$demo/pictures" || status=$?
[[ $status == 0 || $status == 3 ]] ||
  die "nre_image_registrator failed with exit code $status"

step "comparing with the truth"
mkdir "$demo/text"
colmap model_converter --input_path "$demo/registered" \
  --output_path "$demo/text" --output_type TXT
status=0
"$bin/demo_report" "$demo" "$demo/text" "$demo/registered/report.jsonl" ||
  status=$?

step "done; the model with the queries: $demo/registered"
printf '%s\n' "Pictures of every query, its reprojections (.pose.jpg) and" \
  "some loss maps (.maps.jpg): $demo/pictures/queries"
exit "$status"
