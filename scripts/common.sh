# Shared by the scripts of this folder; to be sourced.

# Where this software keeps what it builds once and uses from every checkout.
nre_cache="${COLMAP_NRE_CACHE:-${XDG_CACHE_HOME:-${HOME:?is not set}/.cache}/colmap_nre}"
nre_cache="$(realpath -m "$nre_cache")"

# The COLMAP to build against: the user's own, or the one that setup.sh builds.
colmap_prefix="$(realpath -m "${COLMAP_ROOT:-$nre_cache/colmap-3.8}")"

# A Python that has a COLMAP of today, which the tests compare with.
pycolmap_version=4.2.1
pycolmap_venv="$nre_cache/pycolmap-$pycolmap_version"

# Ninja's own default is two jobs more than there are cores.
jobs="${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}"

die() {
  printf '%s: error: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}
