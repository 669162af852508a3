#!/usr/bin/env bash
# Prepares a Debian 12 machine for building colmap_nre: packages by apt; COLMAP
# 3.8 with its executable, built once from the distribution's source package into
# a cache folder; and there, too, for the tests, a Python with COLMAP 4.2.1, from
# PyPI. Running it again costs nothing.
#
# Environment:
#   COLMAP_ROOT       prefix of an installed COLMAP (3.8 or 4.x) to use instead
#   COLMAP_NRE_CACHE  cache folder (default: ~/.cache/colmap_nre)
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/common.sh"

packages=(
  # Tools.
  build-essential ca-certificates ccache clang-format cmake dpkg-dev git
  ninja-build python3 python3-venv
  # What the rooms use. OpenBLAS must be there before anything is measured:
  # LibTorch and Ceres are ten times slower with the reference BLAS.
  libeigen3-dev libceres-dev libopenblas-dev libopencv-dev libtorch-dev
  libboost-program-options-dev libexif-dev libhdf5-dev libjpeg-dev
  nlohmann-json3-dev
  libgtest-dev libgmock-dev libbenchmark-dev
  # Converting weights needs numpy; the tests of it, of the networks and of
  # hloc's files, the rest.
  python3-numpy python3-h5py python3-torch python3-torchvision
  # What COLMAP 3.8 needs besides.
  libboost-filesystem-dev libboost-graph-dev libboost-system-dev
  libboost-test-dev libflann-dev libfreeimage-dev libgflags-dev libglew-dev
  libgoogle-glog-dev liblz4-dev libmetis-dev libopengl-dev libsqlite3-dev
  libsuitesparse-dev
)

missing_packages() {
  comm -23 <(printf '%s\n' "${packages[@]}" | sort) \
    <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${packages[@]}" \
      2>/dev/null | sed -n 's/^installed //p' | sort -u)
}

# COLMAP's libraries, LibTorch, OpenCV and SuiteSparse all load libblas.so.3
# and liblapack.so.3; both names must lead to OpenBLAS.
check_blas() {
  local lib target
  for lib in libblas.so.3 liblapack.so.3; do
    target="$(readlink -f "/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)/$lib")"
    [[ $target == */openblas* ]] || die "$lib resolves to $target, but must" \
      "be OpenBLAS's. Choose it with: update-alternatives --config" \
      "$lib-$(dpkg-architecture -qDEB_HOST_MULTIARCH)"
  done
}

# 3.8 and 4.x name the file differently.
have_colmap() {
  [[ -f $colmap_prefix/share/colmap/COLMAPConfig.cmake ||
    -f $colmap_prefix/share/colmap/colmap-config.cmake ]]
}

have_pycolmap() { [[ -x $pycolmap_venv/bin/python ]]; }

step() { printf '[setup %4d s] %s\n' "$SECONDS" "$*"; }

# Runs a command with its output in the log; shows the log's end if it fails.
logged() {
  printf '\n$ %s\n' "$*" >>"$log"
  "$@" >>"$log" 2>&1 || {
    tail -n 40 "$log" >&2
    die "this failed: $* (full log: $log)"
  }
}

install_packages() {
  local as_root=()
  if [[ $(id -u) -ne 0 ]]; then
    command -v sudo >/dev/null || die "these packages are missing, and" \
      "installing them needs root or sudo: $*"
    as_root=(sudo)
  fi
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get
    -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)
  logged "${apt[@]}" update
  logged "${apt[@]}" install --yes --no-install-recommends "$@"
}

# Writes the machine's own entry for Debian's main archive, as a source entry,
# into the folder $1. Reads both of apt's formats.
write_source_entries() {
  local codename file
  codename="$(. /etc/os-release && echo "$VERSION_CODENAME")"
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [[ -f $file ]] || continue
    # deb [options] uri suite component...
    awk -v codename="$codename" '
      $1 == "deb" {
        sub(/#.*/, "")
        line = $0
        sub(/^[ \t]*deb[ \t]+(\[[^]]*\][ \t]*)?/, "", line)
        split(line, field)
        if ((field[2] == codename || field[2] == "stable") &&
            line ~ /[ \t]main([ \t]|$)/) {
          sub(/deb/, "deb-src")
          print
        }
      }' "$file"
  done >"$1/debian.list"
  for file in /etc/apt/sources.list.d/*.sources; do
    [[ -f $file ]] || continue
    # Paragraphs of "Field: values"; only three fields change.
    awk -v codename="$codename" '
      function values(name,    i, words) {
        for (i = 1; i <= NF; ++i)
          if (tolower($i) ~ "^" name ":")
            return tolower(substr($i, length(name) + 2)) " "
        return ""
      }
      BEGIN { RS = ""; FS = "\n" }
      (" " values("types")) ~ /[ \t]deb[ \t]/ &&
      (" " values("suites")) ~ ("[ \t](" codename "|stable)[ \t]") &&
      (" " values("components")) ~ /[ \t]main[ \t]/ &&
      values("enabled") !~ /no|false/ {
        for (i = 1; i <= NF; ++i) {
          field = tolower($i)
          if (field ~ /^types:/) print "Types: deb-src"
          else if (field ~ /^suites:/) print "Suites: " codename
          else if (field ~ /^components:/) print "Components: main"
          else print $i
        }
        print ""
      }' "$file"
  done >"$1/debian.sources"
  [[ -s $1/debian.list || -s $1/debian.sources ]] || die "apt has no entry" \
    "for Debian $codename main, so COLMAP's source cannot be found." \
    "Add one, or set COLMAP_ROOT to an installed COLMAP."
}

# Downloads and unpacks COLMAP's source into $1/source. The machine's apt
# configuration is not touched, and apt verifies what it downloads.
fetch_colmap() {
  mkdir -p "$1"/{entries,lists/partial,cache/archives/partial,download,source}
  write_source_entries "$1/entries"
  local apt=(apt-get -o Dir::Etc::sourcelist=/dev/null
    -o "Dir::Etc::sourceparts=$1/entries" -o "Dir::State::Lists=$1/lists"
    -o "Dir::Cache=$1/cache" -o Acquire::Retries=3
    -o "APT::Sandbox::User=$(id -un)")
  logged "${apt[@]}" update
  cd "$1/download"
  logged "${apt[@]}" source --download-only colmap
  cd - >/dev/null
  local tarballs=("$1"/download/colmap_3.8*.orig.tar.*z)
  [[ -f ${tarballs[0]} ]] || die "the archive has no source of COLMAP 3.8," \
    "but $(ls "$1/download")"
  logged tar -xf "${tarballs[0]}" -C "$1/source" --strip-components=1
}

# Installs under a temporary name that is renamed at the end, so that an
# interrupted build is never taken for a finished one.
build_colmap() {
  local work="$colmap_prefix.work"
  rm -rf "$work"
  step "fetching COLMAP's source package"
  fetch_colmap "$work"
  step "building COLMAP (7 minutes on 2 cores)"
  logged cmake -S "$work/source" -B "$work/build" -G Ninja \
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$colmap_prefix" \
    -DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache \
    -DGUI_ENABLED=OFF -DOPENGL_ENABLED=OFF -DCUDA_ENABLED=OFF \
    -DCGAL_ENABLED=OFF -DIPO_ENABLED=OFF -DTESTS_ENABLED=OFF
  logged cmake --build "$work/build" --parallel "$jobs"
  DESTDIR="$work/staging" logged cmake --install "$work/build"
  rm -rf "$colmap_prefix"
  mv "$work/staging$colmap_prefix" "$colmap_prefix"
  rm -rf "$work"
}

# Under a temporary name that is renamed at the end, too.
install_pycolmap() {
  local work="$pycolmap_venv.work"
  rm -rf "$work"
  step "installing pycolmap $pycolmap_version"
  logged /usr/bin/python3 -m venv "$work"
  logged "$work/bin/python" -m pip install --no-input \
    --disable-pip-version-check "pycolmap==$pycolmap_version"
  logged "$work/bin/python" -c "import pycolmap"
  rm -rf "$pycolmap_venv"
  mv "$work" "$pycolmap_venv"
}

[[ $(. /etc/os-release 2>/dev/null && echo "$ID $VERSION_ID") == "debian 12" ]] ||
  die "this script prepares Debian 12 only. Elsewhere, install what its" \
    "package list names and a COLMAP, and run cmake yourself."

if [[ -n ${COLMAP_ROOT:-} ]] && ! have_colmap; then
  die "COLMAP_ROOT is $COLMAP_ROOT, but there is no" \
    "share/colmap/COLMAPConfig.cmake or share/colmap/colmap-config.cmake below"
fi

if [[ -z $(missing_packages) ]] && have_colmap && have_pycolmap; then
  check_blas
  exit 0
fi

# Two set-ups at once wait for each other.
mkdir -p "$nre_cache"
exec 9>"$nre_cache/setup.lock"
flock -n 9 || {
  step "waiting for another set-up to finish"
  flock 9
}
log="$nre_cache/setup.log"
: >"$log"

mapfile -t missing < <(missing_packages)
if [[ ${#missing[@]} -gt 0 ]]; then
  step "installing packages: ${missing[*]}"
  install_packages "${missing[@]}"
fi
check_blas
have_pycolmap || install_pycolmap
have_colmap || build_colmap
step "done, COLMAP is in $colmap_prefix"
