#!/usr/bin/env python3
"""Tests scripts/plot_training.py."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

SCRIPT = (pathlib.Path(__file__).resolve().parents[2] / "scripts" /
          "plot_training.py")


def run(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)],
                          capture_output=True, text=True, check=False)


class PlotTrainingTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        quality = {"truncated_nre": 2.0, "log_categories": 5.0, "hits": 0.25}
        lines = [{"iteration": i, "loss": 5.0 - i, "learning_rate": 0.1}
                 for i in range(1, 4)]
        lines.append({"iteration": 3, "validation": quality,
                      "changed_validation": quality})
        self.text = "\n".join(map(json.dumps, lines)) + "\n"
        (self.folder / "metrics.jsonl").write_text(self.text)

    def test_draws_all_curves_of_all_runs(self):
        other = self.folder / "a<b.jsonl"
        other.write_text(self.text + '{"iteration": 4, "lo')  # still written
        output = self.folder / "plot.svg"
        result = run(output, self.folder, other)
        self.assertEqual(result.returncode, 0, result.stderr)
        root = ElementTree.parse(output).getroot()
        lines = list(root.iter("{http://www.w3.org/2000/svg}polyline"))
        self.assertEqual(len(lines), 2 * 7)
        loss = [tuple(map(float, point.split(",")))
                for point in lines[0].get("points").split()]
        self.assertEqual(len(loss), 3)
        # It falls, evenly: y is downwards.
        self.assertAlmostEqual(loss[1][1] - loss[0][1],
                               loss[2][1] - loss[1][1], delta=0.11)
        self.assertGreater(loss[1][1], loss[0][1])

    def test_refuses_what_is_not_there_or_none(self):
        output = self.folder / "plot.svg"
        self.assertIn("cannot be read", run(output, "/none").stderr)
        (self.folder / "metrics.jsonl").write_text("x\n" + self.text)
        self.assertIn("line 1", run(output, self.folder).stderr)
        self.assertFalse(output.exists())


if __name__ == "__main__":
    unittest.main()
