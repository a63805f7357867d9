"""A designed experiment: what a file asks for is what is done, in an order that does not depend on chance."""

from __future__ import annotations

from pathlib import Path

import pytest

from drsim.errors import DataError, LabError
from executor.lab.matrix import Matrix, Trial, read_matrix

TEXT = """
name: modes
repeat: 2
base: {disk_write_kib_s: 0}
design:
  memory_mib: [192, 256]
  working_set_mib: [32, 128]
  rtt_ms: [0, 100]
  transfer: [{mode: precopy}, {mode: postcopy, tls: true}, {parallel_connections: 4, compression: zstd}]
also:
  - {dirty: {pattern: zipf}, loss: 0.001}
"""


def read(tmp_path: Path, text: str) -> Matrix:
    path = tmp_path / "matrix.yaml"
    path.write_text(text)
    return read_matrix(path)


def test_every_possible_combination_is_a_trial(tmp_path: Path) -> None:
    matrix = read(tmp_path, TEXT)
    trials = matrix.trials()
    # Of 192 MiB the kernel leaves 96: 128 MiB do not fit.
    assert len(trials) == (2 * 2 - 1) * 2 * 3 + 1
    assert all(trial.disk_write_kib_s == 0 for trial in trials)
    assert {trial.transfer.mode for trial in trials} == {"precopy", "postcopy"}
    assert {trial.transfer.parallel_connections for trial in trials} == {0, 4}
    assert {trial.transfer.timeout_s for trial in trials} == {120.0}
    assert (trials[-1].dirty.text, trials[-1].loss) == ("zipf:1000", 0.001)
    runs = matrix.runs()
    assert len({run.key for run in runs}) == len(runs) == 2 * len(trials)
    guests = [run.trial.machine for run in runs]
    assert guests == sorted(guests)
    assert [run.key for run in matrix.runs()] == [run.key for run in runs]
    assert sorted(guest.memory_mib for guest in matrix.topology().guests) == [192, 256]


def test_a_sample_is_drawn_from_the_design_and_not_from_the_single_trials(tmp_path: Path) -> None:
    whole = read(tmp_path, TEXT).trials()
    part = read(tmp_path, TEXT + "sample: 7\n").trials()
    assert len(set(part)) == 8
    assert set(part) < set(whole)
    assert part[-1] == whole[-1]
    assert read(tmp_path, TEXT + "sample: 7\n").trials() == part
    assert read(tmp_path, TEXT + "sample: 700\n").trials() == whole


def test_a_run_keeps_its_key_when_the_matrix_grows(tmp_path: Path) -> None:
    small = {run.key for run in read(tmp_path, TEXT).runs()}
    large = {run.key for run in read(tmp_path, TEXT.replace("[0, 100]", "[0, 20, 100]").replace("2\n", "3\n")).runs()}
    assert small < large


def test_settings_that_exclude_each_other_are_left_out(tmp_path: Path) -> None:
    text = "design: {transfer: [{mode: postcopy, parallel_connections: 2}, {mode: postcopy}]}"
    assert [trial.transfer.parallel_connections for trial in read(tmp_path, text).trials()] == [0]


def test_a_timeout_of_its_own_is_kept(tmp_path: Path) -> None:
    matrix = read(tmp_path, "timeout_s: 9\nalso: [{transfer: {timeout_s: 7}}, {}]")
    assert [trial.transfer.timeout_s for trial in matrix.trials()] == [7.0, 9.0]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("design: {memory: [256]}", "memory"),
        ("design: {transfer: [{mode: teleport}]}", "precopy"),
        (
            "also: [{working_set_mib: 512}]",
            "None of 1 trials is possible; most often: a working set of 512 MiB does not fit",
        ),
        ("name: x", "neither 'design' nor 'also'"),
        ("design: 3", "design"),
        ("design: [", "not a YAML file"),
        ("", "matrix"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises((DataError, LabError), match=word):
        read(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"none\.yaml"):
        read_matrix(tmp_path / "none.yaml")


def test_a_trial_by_itself_is_the_usual_one() -> None:
    assert Trial().machine == (256, 1, 64, "shared")
