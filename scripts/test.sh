#!/usr/bin/env bash
# Sets up, builds and runs all tests. Arguments go to ctest, e.g. -R nre.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/common.sh"

"$here/build.sh"
ctest --test-dir "$here/../build" --output-on-failure --no-tests=error \
  --parallel "$jobs" "$@"
