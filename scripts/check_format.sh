#!/usr/bin/env bash
# Checks the formatting of all C++ files; --fix mends it. The version of
# clang-format is Debian 12's, 14: others format some lines differently.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
mode=(--dry-run --Werror)
if [[ ${1:-} == --fix ]]; then
  mode=(-i)
fi
find nre s2d colmap_plugin tests scripts -name '*.h' -o -name '*.cc' |
  sort | xargs --delimiter='\n' clang-format --style=file "${mode[@]}"
