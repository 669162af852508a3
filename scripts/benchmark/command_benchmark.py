#!/usr/bin/python3
"""What localizing a few queries costs, as whole commands in one thread: ours,
ours of another build, and COLMAP's SIFT of the same queries with its matching
against the same references (whose SIFT is there already, as our map is).

Rounds are interleaved and ratios taken within a round, since machines are
shared. Prints user time, elapsed time and peak memory of the whole process.
COLMAP is that of COLMAP_ROOT, or the one that the set-up built.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SIFT = f'source "{HERE}/../common.sh"; source "{HERE}/sift_database.sh"; "$@"'


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
    parser.add_argument("--features", default="compact")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for path in (
        arguments.scene / "queries.txt", arguments.scene / "pairs_nearest2.txt",
        arguments.executable, arguments.against or arguments.executable,
    ):
        if not path.is_file():
            parser.error(f"{path} is not there")
    if arguments.rounds < 1:
        parser.error("--rounds is less than 1")
    return arguments


def run(*command):
    """User seconds, elapsed seconds and peak memory (MB) of a command and what
    it runs."""
    environment = dict(os.environ, OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
    with tempfile.TemporaryFile() as log:
        start = time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in command], stdout=log, stderr=log, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        elapsed = time.monotonic() - start
        code = os.waitstatus_to_exitcode(status)
        # 3: done, but some queries are not registered.
        if code not in (0, 3):
            log.seek(0)
            sys.stderr.buffer.write(log.read()[-2000:])
            raise SystemExit(f"error: {command[0]} ended with {code}")
    return usage.ru_utime, elapsed, usage.ru_maxrss / 1024.0


def localize(executable, arguments):
    with tempfile.TemporaryDirectory() as work:
        return run(
            executable, "nre_localizer", "--features", arguments.features,
            "--input_path", arguments.scene / "map",
            "--image_path", arguments.scene / "images",
            "--query_list_path", arguments.scene / "queries.txt",
            "--pairs_path", arguments.scene / "pairs_nearest2.txt",
            "--output_path", pathlib.Path(work) / "localized",
            "--num_threads", 1, "--log_level", 0,
        )  # fmt: skip


class Sift:
    """COLMAP's side, with a database that holds the references already."""

    def __init__(self, scene, work):
        self.images = scene / "images"
        self.pairs = scene / "pairs_nearest2.txt"
        self.work = work
        named = set(self.pairs.read_text().split())
        queries = {line.split()[0] for line in lines(scene / "queries.txt")}
        self.queries = write(work / "queries.txt", sorted(queries))
        references = write(work / "references.txt", sorted(named - queries))
        self.extract(references, work / "references.db")

    def extract(self, image_list, database):
        return self.call("sift_features", self.images, image_list, database)

    def extract_queries(self):
        database = shutil.copy(self.work / "references.db", self.work / "database.db")
        return self.extract(self.queries, database)

    def match(self):
        return self.call("sift_matches", self.pairs, self.work / "database.db")

    def call(self, function, *arguments):
        return run("bash", "-c", SIFT, "bash", function, *arguments, "/dev/stderr")


def lines(path):
    return [line for line in path.read_text().splitlines() if line.strip()]


def write(path, words):
    path.write_text("".join(f"{word}\n" for word in words))
    return path


def one_round(arguments, sift):
    """{who: (user s, elapsed s, peak MB)}."""
    measured = {"ours": localize(arguments.executable, arguments)}
    if arguments.against:
        measured["other build"] = localize(arguments.against, arguments)
    extraction, matching = sift.extract_queries(), sift.match()
    measured["SIFT: extraction"] = extraction
    measured["SIFT: matching"] = matching
    measured["SIFT: both"] = (
        extraction[0] + matching[0], extraction[1] + matching[1],
        max(extraction[2], matching[2]),
    )  # fmt: skip
    return measured


def main():
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as work:
        sift = Sift(arguments.scene, pathlib.Path(work))
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
