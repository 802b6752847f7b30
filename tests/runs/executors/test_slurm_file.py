"""The file of submitit's parameters: what cannot be is one line, before a job is given."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from oodbench.core.errors import UserError
from oodbench.runs.executors import slurm_file

pytest.importorskip("submitit")

WRONG = {
    "": "is empty; give submitit's parameters, one a line, such as timeout_min: 240",
    "{}": "is empty",
    "[1, 2]": "holds [1, 2]",
    "just a text": "holds 'just a text'",
    "cluster: locl": "cluster: 'locl'; did you mean 'local'? allowed: local, slurm",
    "cluster: 3": "cluster: 3; allowed: local, slurm",
    "timeout_min: 5\nslurm_partitoin: gpu": "unknown key 'slurm_partitoin'; did you mean 'slurm_partition'?",
    "timeout_min: 5\nmem: 4GB": "unknown key 'mem'",
    "timeout_min: 5\n7: x": "unknown key 7",
    "timeout_min: soon": "timeout_min: 'soon' should be an integer",
    "timeout_min: true": "timeout_min: True should be an integer",
    "timeout_min: 0": "timeout_min: 0 should be at least 1",
    "timeout_min: [5]": "timeout_min: [5] should be an integer",
    "timeout_min: 5\nmem_gb: much": "mem_gb: 'much' should be a number",
    "timeout_min: 5\nslurm_array_parallelism: 0": "slurm_array_parallelism: 0 should be at least 1",
    "timeout_min: 5\nslurm_array_parallelism: '8'": "slurm_array_parallelism: '8' should be an integer",
    "timeout_min: 5\nslurm_partition: 3": "slurm_partition: 3 should be a text",
    "timeout_min: 5\nslurm_setup: module load cuda": "should be a list of texts",
    "timeout_min: 5\nslurm_setup: [module, 3]": "should be a list of texts",
    "timeout_min: 5\nslurm_additional_parameters: 3": "should be a mapping",
    "timeout_min: 5\nslurm_exclusive: 3": "slurm_exclusive: 3 should be true or false or a text",
    "timeout_min: 5\nnodes: 2": "nodes, tasks_per_node: a job is one process on one node; leave them out",
    "timeout_min: 5\ntasks_per_node: 4": "nodes, tasks_per_node: a job is one process on one node",
    "gpus_per_node: 1": "timeout_min is missing: submitit would end each job after 5 minutes",
    "timeout_min: 5\ntimeout_min: 6": "stands twice",
    "timeout_min: {": "not valid YAML",
}


def _line(file: Path, gpus: float | None = None) -> str:
    with pytest.raises(UserError) as error:
        slurm_file.read(file, 2, gpus)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize("text", WRONG)
def test_what_cannot_be_is_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "slurm.yaml"
    file.write_text(text)
    line = _line(file)
    assert WRONG[text] in line
    assert line.startswith(str(file))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "none.yaml: cannot be read (No such file or directory)" in _line(tmp_path / "none.yaml")


def test_parameters_come_out_as_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "slurm.yaml"
    file.write_text(
        "timeout_min: 240\nslurm_partition: gpu\nmem_gb: 8\nslurm_qos: null\nslurm_setup: [a, b]\n"
    )
    assert slurm_file.read(file, 2, 1) == (
        "slurm",
        {
            "cpus_per_task": 2, "timeout_min": 240, "slurm_partition": "gpu", "mem_gb": 8,
            "slurm_setup": ["a", "b"], "gpus_per_node": 1,
        },
    )  # fmt: skip
    file.write_text("cluster: local\ncpus_per_task: 4\n")
    assert slurm_file.read(file, 2, None) == ("local", {"cpus_per_task": 4})
    file.write_text("slurm_time: 1-00:00:00\n")
    assert slurm_file.read(file, 1, None)[1]["slurm_time"] == "1-00:00:00"


def test_gpus_are_whole_and_said_once(tmp_path: Path) -> None:
    file = tmp_path / "slurm.yaml"
    file.write_text("timeout_min: 5\ngpus_per_node: 2\n")
    assert "--gpus-per-run 0.25: Slurm gives whole GPUs" in _line(file, 0.25)
    assert "gpus_per_node: 2, but --gpus-per-run 1; leave out one" in _line(file, 1)
    assert slurm_file.read(file, 1, 2)[1]["gpus_per_node"] == 2


def test_submitit_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    line = _line(tmp_path / "none.yaml")
    assert line == "--slurm: the library submitit is not here; pip install 'oodbench[slurm]'"
