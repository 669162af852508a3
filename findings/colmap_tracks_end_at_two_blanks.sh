#!/usr/bin/env bash
# COLMAP up to 3.x reads a text model whose words are two blanks apart without
# any complaint, and loses the rest of the point's track there; 4.2.1 reads all.
#
# Seen with pycolmap 3.10.0 (and 0.5.0; COLMAP 3.8's own code does the same) and
# 4.2.1: points3D.txt with the track "1 0 2 0  3 0" gives
#   3.10.0: track of 2, while the images have 3 observations of the point
#   4.2.1:  track of 3, as with single blanks
# A model that says two things about who observes what is what bundle adjustment
# and whoever counts tracks then work on. Exporters that align columns write it.
#
# What this software does about it: text models are read from a copy with single
# blanks (CopyUnlessPlain() in colmap_plugin/compat/model_files.h).
#
# Needs python3 with venv, and PyPI. Exits with 1 if the behaviour has changed.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

cat >"$work/read.py" <<'PYTHON'
import os, sys, tempfile
import pycolmap

with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(folder, "cameras.txt"), "w") as f:
        f.write("1 PINHOLE 640 480 500 500 320 240\n")
    with open(os.path.join(folder, "images.txt"), "w") as f:
        for i in (1, 2, 3):
            f.write(f"{i} 1 0 0 0 {i} 0 0 1 {i}.jpg\n320 240 1\n")
    for blanks in (" ", "  "):
        with open(os.path.join(folder, "points3D.txt"), "w") as f:
            f.write(f"1 0 0 5 128 128 128 0.5 1 0 2 0{blanks}3 0\n")
        model = pycolmap.Reconstruction(folder)
        print(model.points3D[1].track.length(),
              model.compute_num_observations(), end=" ")
print()
PYTHON

status=0
# Track and observations with single blanks, then with two.
check() {
  local venv="$work/$1"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet "pycolmap==$1" "numpy<2"
  local seen
  seen="$("$venv/bin/python" "$work/read.py")"
  echo "pycolmap $1: $seen(expected: $2)"
  [[ $seen == "$2" ]] || status=1
}
check 3.10.0 "3 3 2 3 "
check 4.2.1 "3 3 3 3 "
exit "$status"
