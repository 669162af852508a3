#!/usr/bin/env bash
# OpenCV's imread() and imdecode() disagree on the same bytes: of a JPEG whose
# picture is complete but for the end marker (two bytes), as streams of cameras
# and panoramas with a maker's trailer have it, imread() gives every pixel and
# imdecode() nothing at all.
#
# Seen with opencv-python-headless 4.11.0.86, baseline and progressive files:
#   imread:   all pixels as with the marker
#   imdecode: None
# (4.6.0 of Debian 12 returns a picture from memory whose last rows are off by
# tens of grey levels, where the file is baseline.) Whoever reads the bytes first,
# to look at them or since they come from an archive, loses pictures that
# everybody else reads, or gets a wrong strip.
#
# What this software does about it: it tells by libjpeg whether all coefficients
# are there, cuts the bytes where the picture ends, and adds the marker
# (s2d/jpeg_end.h).
#
# Needs python3 with venv, and PyPI. Exits with 1 if the behaviour has changed.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet opencv-python-headless==4.11.0.86 "numpy<2"

cat >"$work/decode.py" <<'PYTHON'
import sys
import cv2
import numpy as np

random = np.random.default_rng(1)
picture = cv2.GaussianBlur(
    random.uniform(0, 255, (480, 640, 3)).astype(np.uint8), (0, 0), 4)
picture = cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX)
changed = False
for name, flags in (("baseline", []),
                    ("progressive", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])):
    _, jpeg = cv2.imencode(".jpg", picture,
                           [cv2.IMWRITE_JPEG_QUALITY, 95] + flags)
    whole = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    jpeg = jpeg.tobytes()
    cut = jpeg[:jpeg.rindex(b"\xff\xd9")]
    path = sys.argv[1] + "/" + name + ".jpg"
    with open(path, "wb") as file:
        file.write(cut)
    from_file = cv2.imread(path, cv2.IMREAD_COLOR)
    from_memory = cv2.imdecode(np.frombuffer(cut, np.uint8), cv2.IMREAD_COLOR)
    same = from_file is not None and np.array_equal(from_file, whole)
    print(f"{name}: imread {'all pixels' if same else 'not all pixels'}, "
          f"imdecode {'None' if from_memory is None else 'a picture'}")
    changed |= not same or from_memory is not None
sys.exit(changed)
PYTHON
"$work/venv/bin/python" "$work/decode.py" "$work"
