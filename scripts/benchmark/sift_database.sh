# COLMAP's own SIFT, on the CPU; to be sourced, after ../common.sh.

# sift_database IMAGES PAIRS DATABASE LOG: features of the images that the pairs
# file names, and matches of its pairs, with COLMAP's defaults, in a database.
# COLMAP 3.8 now and then ends in a deadlock after its work, so that extraction
# gets a time limit and a second chance, which skips what is done.
sift_database() {
  local colmap="$colmap_prefix/bin/colmap" list="$3.images.txt"
  local extraction=SiftExtraction matching=SiftMatching
  [[ -x $colmap ]] || die "$colmap_prefix has no bin/colmap"
  if [[ "$("$colmap" feature_extractor -h 2>&1)" == *FeatureExtraction.use_gpu* ]]; then
    extraction=FeatureExtraction matching=FeatureMatching  # COLMAP 4
  fi
  tr ' ' '\n' <"$2" | sort -u >"$list"
  local extract=(timeout "$((300 + 60 * $(wc -l <"$list")))" "$colmap"
    feature_extractor --database_path "$3" --image_path "$1"
    --image_list_path "$list" "--$extraction.use_gpu" 0
    "--$extraction.num_threads" 1)
  "${extract[@]}" >>"$4" 2>&1 || "${extract[@]}" >>"$4" 2>&1 ||
    die "feature_extractor failed (see $4)"
  "$colmap" matches_importer --database_path "$3" --match_list_path "$2" \
    --match_type pairs "--$matching.use_gpu" 0 "--$matching.num_threads" 1 \
    >>"$4" 2>&1 || die "matches_importer failed (see $4)"
}
