#!/usr/bin/env bash
# Sets up, configures and builds. Leaves the executable at build/bin/colmap_nre.
#
# Usage: scripts/build.sh [--debug] [cmake arguments, e.g. -DNRE_SANITIZE=thread]
#   --debug  a debug build, in build-debug/ instead
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/common.sh"

type=Release
build="$here/../build"
if [[ ${1:-} == --debug ]]; then
  shift
  type=Debug
  build="$here/../build-debug"
fi

"$here/setup.sh"
# An earlier run's COLMAP_DIR would win over COLMAP_ROOT.
cmake -S "$here/.." -B "$build" -G Ninja -DCMAKE_BUILD_TYPE="$type" \
  -UCOLMAP_DIR -UNRE_COLMAP_EXECUTABLE -DCOLMAP_ROOT="$colmap_prefix" \
  -DNRE_PYCOLMAP_PYTHON="$pycolmap_venv/bin/python" "$@"
cmake --build "$build" --parallel "$jobs"
