# COLMAP's own SIFT, on the CPU, with its defaults; to be sourced, after
# ../common.sh.

# colmap_sift KIND COMMAND ...: a COLMAP command in one thread without a GPU, for
# at most the caller's limit_s, if there is one. KIND: Extraction or Matching,
# whose options have a prefix of their own.
colmap_sift() {
  local colmap="$colmap_prefix/bin/colmap" options="Sift$1"
  [[ -x $colmap ]] || die "$colmap_prefix has no bin/colmap"
  if [[ "$("$colmap" "$2" -h 2>&1)" == *"Feature$1.use_gpu"* ]]; then
    options="Feature$1"  # COLMAP 4
  fi
  ${limit_s:+timeout "$limit_s"} "$colmap" "${@:2}" "--$options.use_gpu" 0 \
    "--$options.num_threads" 1
}

# sift_features IMAGES LIST DATABASE LOG: features of the images in the list.
# COLMAP 3.8 now and then ends in a deadlock after its work, so that it gets a
# time limit and a second chance, which skips what is done.
sift_features() {
  local limit_s=$((300 + 60 * $(wc -l <"$2")))
  local command=(colmap_sift Extraction feature_extractor --database_path "$3"
    --image_path "$1" --image_list_path "$2")
  "${command[@]}" >>"$4" 2>&1 || "${command[@]}" >>"$4" 2>&1 ||
    die "feature_extractor failed (see $4)"
}

# sift_matches PAIRS DATABASE LOG: matches of the pairs.
sift_matches() {
  colmap_sift Matching matches_importer --database_path "$2" \
    --match_list_path "$1" --match_type pairs >>"$3" 2>&1 ||
    die "matches_importer failed (see $3)"
}

# sift_database IMAGES PAIRS DATABASE LOG: both, of the images that the pairs
# file names.
sift_database() {
  tr ' ' '\n' <"$2" | sort -u >"$3.images.txt"
  sift_features "$1" "$3.images.txt" "$3" "$4"
  sift_matches "$2" "$3" "$4"
}
