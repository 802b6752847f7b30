"""How a plan is carried out: by this process, by several of this machine, or by a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from oodbench.core.errors import UserError, shown
from oodbench.data.sources.roots import cpus
from oodbench.runs.executors.contract import Executor
from oodbench.suite.plan import Plan
from oodbench.suite.run import TrainedRun


@dataclass(frozen=True)
class Execution:
    """Who carries out the runs of a plan, and with how many threads each. The numbers are those of one
    process with as many threads.

    Args:
        workers: processes of this machine, from 1 to its CPUs.
        ray: the address of a Ray cluster, or ``local`` for one of this machine alone.
        slurm: a YAML file of submitit's parameters, by which jobs are given to Slurm.
        gpus_per_run: GPUs of one run, 0.25 for four at a time on one; None: one, where there are any.
        threads: threads of one run; None: the CPUs of this machine, shared among `workers`.
        command: what the user typed, for environment.json.

    At most one of `workers`, `ray` and `slurm` is given; with none, this process does all, run after run.

    Raises:
        UserError: values that cannot be.

    Example:
        >>> Execution(workers=1, threads=1).threads_per_run
        1
    """

    workers: int | None = None
    ray: str | None = None
    slurm: Path | None = None
    gpus_per_run: float | None = None
    threads: int | None = None
    command: str = ""

    def __post_init__(self) -> None:
        engines = {"workers": self.workers, "ray": self.ray, "slurm": self.slurm}
        given = [f"--{name}" for name, value in engines.items() if value is not None]
        if len(given) > 1:
            raise UserError(f"{' and '.join(given)}: one of them at most can carry out the runs")
        for name, most in (("workers", cpus()), ("threads", None)):
            value = getattr(self, name)
            if value is None:
                continue
            if type(value) is not int or value < 1 or (most is not None and value > most):
                allowed = "at least 1" if most is None else f"from 1 to {most}, the CPUs of this machine"
                raise UserError(f"--{name}: {shown(value)} should be an integer, {allowed}")
        share = self.gpus_per_run
        if share is not None and not (
            type(share) in (int, float) and (0 < share <= 1 or (share > 1 and share == int(share)))
        ):
            raise UserError(
                f"--gpus-per-run: {shown(share)} should be a share of one GPU, such as 0.25, or a number of"
                " whole ones"
            )
        if share is not None and not given:
            raise UserError("--gpus-per-run: needs --workers, --ray or --slurm; one process has one device")

    @property
    def distributed(self) -> bool:
        """Whether other processes than this one carry out the runs."""
        return self.workers is not None or self.ray is not None or self.slurm is not None

    @property
    def elsewhere(self) -> bool:
        """Whether other machines may do so."""
        return self.ray is not None or self.slurm is not None

    @property
    def threads_per_run(self) -> int:
        """Threads of each run."""
        if self.threads is not None:
            return self.threads
        return 1 if self.elsewhere else max(1, cpus() // (self.workers or 1))

    def check(self, plan: Plan) -> None:
        """Raise UserError where a plan cannot be carried out this way."""
        for run in plan.runs if self.distributed else ():
            for one in run.lineage:
                if isinstance(one, TrainedRun) and one.recipe.world_size > 1:
                    raise UserError(
                        f"method {one.method.label!r}: recipe: world_size {one.recipe.world_size} trains in"
                        " processes that torchrun starts; leave out --workers, --ray and --slurm"
                    )

    @contextmanager
    def executor(self, logs: Path) -> Iterator[Executor]:
        """What the jobs are given to; `logs`: a folder for what an engine writes about them. What was started
        is ended with the block, at once where it ends in an error."""
        made = self._executor(logs)
        try:
            yield made
        except BaseException:
            made.close(now=True)
            raise
        made.close()

    def _executor(self, logs: Path) -> Executor:
        """The engine. Its library is imported only here."""
        if self.workers is not None:
            from oodbench.runs.executors.local import LocalProcesses

            return LocalProcesses(self.workers, self.threads_per_run, self.gpus_per_run)
        if self.ray is not None:
            from oodbench.runs.executors.ray_cluster import RayCluster

            return RayCluster(self.ray, self.threads_per_run, self.gpus_per_run)
        if self.slurm is not None:
            from oodbench.runs.executors.slurm import Slurm

            return Slurm(self.slurm, self.threads_per_run, self.gpus_per_run, logs)
        from oodbench.runs.executors.serial import Here

        return Here()
