"""The file that says how jobs are given to Slurm: parameters of submitit, checked before a job is given."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oodbench.core.errors import UserError, meant, one_line, shown
from oodbench.suite.load import read_plain

CLUSTERS = ("slurm", "local")


def library() -> Any:
    """Submitit's module."""
    try:
        import submitit
    except ImportError:
        raise UserError("--slurm: the library submitit is not here; pip install 'oodbench[slurm]'") from None
    return submitit


def read(file: Path, threads: int, gpus_per_run: float | None) -> tuple[str, dict[str, Any]]:
    """The cluster that a file names (``slurm`` where it names none) and its parameters, with those that
    threads and GPUs of one run stand for.

    Raises UserError: a file that cannot be read or holds nothing; a key or a value that submitit does not
    take; no time limit; GPUs that are not whole, or other ones than the file's."""
    library()
    held = read_plain(file)
    example = "such as timeout_min: 240, slurm_partition: gpu, gpus_per_node: 1"
    if not isinstance(held, Mapping) or not held:
        what = "is empty" if held is None or held == {} else f"holds {shown(held)}"
        raise UserError(f"{file}: {what}; give submitit's parameters, one a line, {example}")
    cluster = held.get("cluster", "slurm")
    if cluster not in CLUSTERS:
        raise UserError(f"{file}: cluster: {shown(cluster)}{meant(str(cluster), CLUSTERS)}")
    parameters = {key: value for key, value in held.items() if key != "cluster" and value is not None}
    allowed = _allowed()
    for key, value in parameters.items():
        if key not in allowed:
            raise UserError(f"{file}: unknown key {shown(key)}{meant(str(key), [*allowed, 'cluster'])}")
        if not _is(value, allowed[key]):
            raise UserError(f"{file}: {key}: {shown(value)} should be {_spoken(allowed[key])}")
        if key in _AT_LEAST_ONE and isinstance(value, (int, float)) and not value >= 1:
            raise UserError(f"{file}: {key}: {shown(value)} should be at least 1")
    if cluster == "slurm" and not parameters.keys() & _LIMITS:
        raise UserError(f"{file}: timeout_min is missing: submitit would end each job after 5 minutes")
    if parameters.keys() & {"nodes", "tasks_per_node"} and (
        parameters.get("nodes", 1) != 1 or parameters.get("tasks_per_node", 1) != 1
    ):
        raise UserError(f"{file}: nodes, tasks_per_node: a job is one process on one node; leave them out")
    return cluster, {"cpus_per_task": threads} | parameters | _cards(file, parameters, gpus_per_run)


_LIMITS = {"timeout_min", "slurm_time", "slurm_timeout_min"}
_AT_LEAST_ONE = {*_LIMITS, "cpus_per_task", "slurm_cpus_per_task", "slurm_array_parallelism"}


def _cards(file: Path, parameters: Mapping[str, Any], gpus_per_run: float | None) -> dict[str, int]:
    """The GPUs of one run, as a parameter, where the command says how many."""
    if gpus_per_run is None:
        return {}
    if gpus_per_run != int(gpus_per_run):
        raise UserError(
            f"--gpus-per-run {gpus_per_run:g}: Slurm gives whole GPUs; for shares start Ray inside an"
            " allocation and use --ray"
        )
    if parameters.get("gpus_per_node", gpus_per_run) != gpus_per_run:
        raise UserError(
            f"{file}: gpus_per_node: {parameters['gpus_per_node']}, but --gpus-per-run {gpus_per_run:g};"
            " leave out one of them"
        )
    return {"gpus_per_node": int(gpus_per_run)}


def _allowed() -> dict[str, Any]:
    """The parameters that submitit takes, with their types. It has no public list of them: these two places
    are those that it checks by itself."""
    from submitit.auto.auto import AutoExecutor
    from submitit.slurm import slurm

    shared = AutoExecutor._typed_parameters()
    known = typing.get_type_hints(slurm._make_sbatch_string)
    own = {key: known.get(key, Any) for key in slurm.SlurmExecutor._valid_parameters()}
    own |= {"time": int | str, "python": str}
    return shared | {f"slurm_{key}": kind for key, kind in (shared | own).items()}


def _is(value: Any, kind: Any) -> bool:
    """Whether a value of a YAML file is of a type."""
    if kind is Any:
        return True
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(_is(value, one) for one in inside)
    if origin is None:
        return type(value) is kind or (kind is float and type(value) is int)
    if origin is dict:
        return isinstance(value, dict)
    return isinstance(value, list) and all(_is(one, inside[0]) for one in value)


def _spoken(kind: Any) -> str:
    """A type, in words."""
    words = {int: "an integer", float: "a number", str: "a text", bool: "true or false"}
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(_spoken(one) for one in typing.get_args(kind) if one is not type(None))
    if typing.get_origin(kind) is dict:
        return "a mapping"
    return words.get(kind) or "a list of texts"


def first_line(error: BaseException) -> str:
    """What submitit or a command of Slurm's says, in one line."""
    text = getattr(error, "stderr", None) or getattr(error, "output", None) or str(error)
    text = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    lines = [line for line in text.splitlines() if line.strip()]
    return one_line(lines[0], 300) if lines else type(error).__name__
