#!/usr/bin/env bash
# COLMAP's SIFT against NRE on bad pictures: dark, noisy, motion-blurred, tiny
# and tightly cropped versions of queries whose poses are known, each with the
# same one or two reference images on both sides.
#
#   degraded_queries.sh DATASETS_FOLDER OUTPUT_FOLDER [--quick] [--seed N]
#     [--features "NAME [NAME ...]"]
#
# DATASETS_FOLDER has fountain/ and herzjesu/ (see degrade_queries.cc for what
# is in them). --quick: one picture instead of two per query and kind.
# --features: presets to compare. Both sides run in one thread.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../common.sh"
bin="$here/../../build/bin"
colmap="$colmap_prefix/bin/colmap"

[[ $# -ge 2 ]] || die "usage: DATASETS_FOLDER OUTPUT_FOLDER [--quick] [--seed N] [--features LIST]"
datasets="$1" out="$2" variants=2 seed=0 features="compact dense_sift"
shift 2
while [[ $# -gt 0 ]]; do
  case "$1" in
    --quick) variants=1 ;;
    --seed) shift; seed="${1:?--seed needs a number}" ;;
    --features) shift; features="${1:?--features needs names}" ;;
    *) die "unknown option $1" ;;
  esac
  shift
done
[[ -x $bin/degrade_queries ]] || die "build first: scripts/build.sh"
[[ -x $colmap ]] || die "$colmap_prefix has no bin/colmap"
[[ ! -e $out ]] || die "$out exists already"
mkdir -p "$out"
export OPENBLAS_NUM_THREADS=1

step() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }

# Runs a COLMAP command; its output goes into a log, whose end is shown if it
# fails.
colmap() {
  "$colmap" "$@" >>"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    die "colmap $1 failed (full log: $log)"
  }
}

extraction=SiftExtraction matching=SiftMatching
if [[ "$("$colmap" feature_extractor -h 2>&1)" == *FeatureExtraction.use_gpu* ]]; then
  extraction=FeatureExtraction matching=FeatureMatching  # COLMAP 4
fi

# extract SCENE LIST PARAMS: features of the images in the list, which share
# known intrinsics. COLMAP 3.8 now and then ends in a deadlock after its work,
# so that it gets a time limit and a second chance, which skips what is done.
extract() {
  local limit_s=$((60 + 30 * $(wc -l <"$2")))
  local command=(timeout "$limit_s" "$colmap" feature_extractor
    --database_path "$1/database.db" --image_path "$1/images"
    --image_list_path "$2" --ImageReader.single_camera 1
    --ImageReader.camera_model PINHOLE --ImageReader.camera_params "$3"
    "--$extraction.use_gpu" 0 "--$extraction.num_threads" 1)
  "${command[@]}" >>"$log" 2>&1 || "${command[@]}" >>"$log" 2>&1 ||
    die "colmap feature_extractor failed (see $log)"
}

# Stock SIFT with COLMAP's defaults: features, matches with the references of
# the pairs file only, registration into the map with the intrinsics held.
sift() {
  local scene="$1" map="$2" log="$1/sift.log" name
  local all="$scene/sift_images.txt" list="$scene/extract.txt" params
  read -r _ _ _ _ params <"$scene/original.txt"
  extract "$scene" "$all" "${params// /,}"
  cat "$scene"/{dark,noisy,blurred}.txt | cut -d' ' -f1 >"$list"
  extract "$scene" "$list" "${params// /,}"
  while read -r name _ _ _ params; do
    echo "$name" >"$list"
    extract "$scene" "$list" "${params// /,}"
  done < <(cat "$scene"/{tiny,cropped}.txt)
  colmap matches_importer --database_path "$scene/database.db" \
    --match_list_path "$scene/sift_pairs.txt" --match_type pairs \
    "--$matching.use_gpu" 0 "--$matching.num_threads" 1
  mkdir "$scene/sift" "$scene/sift_text"
  colmap image_registrator --database_path "$scene/database.db" \
    --input_path "$map" --output_path "$scene/sift" \
    --Mapper.ba_refine_focal_length 0 --Mapper.ba_refine_extra_params 0
  colmap model_converter --input_path "$scene/sift" \
    --output_path "$scene/sift_text" --output_type TXT
  # Two lines per image: id, qvec, tvec, camera and name; then its points.
  grep -v '^#' "$scene/sift_text/images.txt" |
    awk 'NR % 2 == 1 { print $10, $2, $3, $4, $5, $6, $7, $8 }' |
    grep -F -f <(cut -d' ' -f1 "$scene/queries.txt" | sed 's/$/ /') \
      >"$scene/sift.txt" || true
}

nre() { # SCENE MAP FEATURES
  local scene="$1" map="$2" status=0
  "$bin/colmap_nre" nre_localizer --features "$3" --input_path "$map" \
    --image_path "$scene/images" --query_list_path "$scene/queries.txt" \
    --pairs_path "$scene/pairs.txt" --output_path "$scene/$3" \
    --num_threads 1 --random_seed "$seed" --log_level 0 \
    2>"$scene/$3.log" || status=$?
  # 3: done, but some queries are not registered.
  [[ $status == 0 || $status == 3 ]] || {
    tail -n 5 "$scene/$3.log" >&2
    die "nre_localizer failed with exit code $status"
  }
}

for name in fountain herzjesu; do
  step "$name: degrading the queries"
  "$bin/degrade_queries" "$datasets/$name" "$out/$name" \
    --variants "$variants" --seed "$seed"
  step "$name: SIFT"
  sift "$out/$name" "$datasets/$name/map"
  for f in $features; do
    step "$name: NRE, $f"
    nre "$out/$name" "$datasets/$name/map" "$f"
  done
done

# Both scenes as one, their names in front.
merge() { # FILE, the same in either scene
  for name in fountain herzjesu; do
    sed "s|^|$name/|" "$out/$name/$1"
  done
}
for list in queries_gt sift original dark noisy blurred tiny cropped; do
  merge "$list.txt" >"$out/$list.txt"
done
results="$out/sift.txt" names=SIFT
for f in $features; do
  for name in fountain herzjesu; do
    sed "s|\"name\":\"|&$name/|" "$out/$name/$f/report.jsonl"
  done >"$out/$f.jsonl"
  results+=",$out/$f.jsonl" names+=",$f"
done
cat "$out"/{dark,noisy,blurred,tiny,cropped}.txt >"$out/degraded.txt"

step "evaluation"
for kind in original dark noisy blurred tiny cropped degraded; do
  printf '\n%s\n' "$kind"
  "$bin/colmap_nre" pose_evaluator --gt_path "$out/queries_gt.txt" \
    --result_paths "$results" --names "$names" \
    --query_list_path "$out/$kind.txt" --thresholds "0.05,0.5;0.1,1;0.5,5" \
    --output_path "$out/evaluation_$kind" 2>/dev/null
done | tee "$out/evaluation.txt"
step "done; tables and curves: $out/evaluation_*"
