#!/usr/bin/python3
"""What localizing a few queries costs, as whole commands in one thread: ours,
ours of another build, and COLMAP's SIFT of the same queries with its matching
against the same references (whose SIFT is there already, as our map is).

Rounds are interleaved and ratios taken within a round, since machines are
shared. Prints user time, elapsed time and peak memory of the whole process.
"""

import argparse
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(
    os.environ.get("COLMAP_NRE_CACHE")
    or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    / "colmap_nre"
)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "scene", type=pathlib.Path,
        help="folder with map/, images/, queries.txt and pairs_nearest2.txt",
    )
    parser.add_argument(
        "--executable", type=pathlib.Path, default=HERE / "../../build/bin/colmap_nre"
    )
    parser.add_argument(
        "--against", type=pathlib.Path, help="colmap_nre of another build"
    )
    parser.add_argument(
        "--colmap", type=pathlib.Path, default=CACHE / "colmap-3.8/bin/colmap"
    )
    parser.add_argument("--features", default="compact")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for path in (
        arguments.scene / "queries.txt", arguments.scene / "pairs_nearest2.txt",
        arguments.executable, arguments.colmap,
        arguments.against or arguments.executable,
    ):
        if not path.is_file():
            parser.error(f"{path} is not there")
    return arguments


def run(command, limit_s=600):
    """User seconds, elapsed seconds and peak memory (MB) of a command."""
    environment = dict(os.environ, OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
    with tempfile.TemporaryFile() as log:
        start = time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in command], stdout=log, stderr=log, env=environment
        )
        # Not subprocess's timeout: the usage comes with wait4() only.
        signal.signal(signal.SIGALRM, lambda *_: process.kill())
        signal.alarm(limit_s)
        _, status, usage = os.wait4(process.pid, 0)
        signal.alarm(0)
        elapsed = time.monotonic() - start
        code = os.waitstatus_to_exitcode(status)
        # 3: done, but some queries are not registered.
        if code not in (0, 3):
            log.seek(0)
            sys.stderr.buffer.write(log.read()[-2000:])
            raise SystemExit(f"error: {command[0]} {command[1]} ended with {code}")
    return usage.ru_utime, elapsed, usage.ru_maxrss / 1024.0


def localize(executable, arguments, work):
    """One nre_localizer run."""
    return run([
        executable, "nre_localizer", "--features", arguments.features,
        "--input_path", arguments.scene / "map",
        "--image_path", arguments.scene / "images",
        "--query_list_path", arguments.scene / "queries.txt",
        "--pairs_path", arguments.scene / "pairs_nearest2.txt",
        "--output_path", work / "localized", "--num_threads", 1, "--log_level", 0,
    ])  # fmt: skip


class Sift:
    """COLMAP's side, with a database that holds the references already."""

    def __init__(self, arguments, work):
        self.arguments = arguments
        self.work = work
        queries = [line.split() for line in lines(arguments.scene / "queries.txt")]
        pairs = [line.split() for line in lines(arguments.scene / "pairs_nearest2.txt")]
        self.camera = queries[0][1], ",".join(queries[0][4:])
        names = {query[0] for query in queries}
        self.queries = write(work / "queries.txt", sorted(names))
        references = {name for pair in pairs for name in pair} - names
        self.references = write(work / "references.txt", sorted(references))
        self.extract(work / "references.db", self.references)

    def extract(self, database, image_list):
        """Features of the listed images."""
        return run([
            self.arguments.colmap, "feature_extractor", "--database_path", database,
            "--image_path", self.arguments.scene / "images",
            "--image_list_path", image_list, "--ImageReader.single_camera", 1,
            "--ImageReader.camera_model", self.camera[0],
            "--ImageReader.camera_params", self.camera[1],
            "--SiftExtraction.use_gpu", 0, "--SiftExtraction.num_threads", 1,
        ])  # fmt: skip

    def extract_queries(self):
        """Into a fresh copy of the references' database."""
        shutil.copy(self.work / "references.db", self.work / "database.db")
        return self.extract(self.work / "database.db", self.queries)

    def match(self):
        """Matches and verifies the pairs."""
        return run([
            self.arguments.colmap, "matches_importer",
            "--database_path", self.work / "database.db", "--match_type", "pairs",
            "--match_list_path", self.arguments.scene / "pairs_nearest2.txt",
            "--SiftMatching.use_gpu", 0, "--SiftMatching.num_threads", 1,
        ])  # fmt: skip


def lines(path):
    """Of a text file, without blank ones."""
    return [line for line in path.read_text().splitlines() if line.strip()]


def write(path, words):
    """Writes one per line and returns the path."""
    path.write_text("".join(f"{word}\n" for word in words))
    return path


def one_round(arguments, sift):
    """{who: (user s, elapsed s, peak MB)}."""
    measured = {}
    with tempfile.TemporaryDirectory() as work:
        measured["ours"] = localize(arguments.executable, arguments, pathlib.Path(work))
    if arguments.against:
        with tempfile.TemporaryDirectory() as work:
            measured["other build"] = localize(
                arguments.against, arguments, pathlib.Path(work)
            )
    extraction, matching = sift.extract_queries(), sift.match()
    measured["SIFT: extraction"] = extraction
    measured["SIFT: matching"] = matching
    measured["SIFT: both"] = (
        extraction[0] + matching[0], extraction[1] + matching[1],
        max(extraction[2], matching[2]),
    )  # fmt: skip
    return measured


def main():
    """Prints medians, and medians and ranges of the ratios."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as work:
        sift = Sift(arguments, pathlib.Path(work))
        rounds = [one_round(arguments, sift) for _ in range(arguments.rounds)]
    print(f"{'':20}{'user, s':>10}{'elapsed, s':>12}{'peak, MB':>10}   ours / it (user)")
    for who in rounds[0]:
        medians = [statistics.median(r[who][i] for r in rounds) for i in range(3)]
        ratios = [r["ours"][0] / r[who][0] for r in rounds]
        print(
            f"{who:20}{medians[0]:10.1f}{medians[1]:12.1f}{medians[2]:10.0f}"
            f"   {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    if arguments.against:
        memory = [r["ours"][2] / r["other build"][2] for r in rounds]
        print(f"peak memory, ours / other build: {statistics.median(memory):.2f}")


if __name__ == "__main__":
    main()
