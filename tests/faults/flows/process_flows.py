"""Pipelines whose steps start processes, threads and sessions, and end in all ways."""

import atexit
import logging
import multiprocessing
import os
import random
import re
import signal
import subprocess
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from headrace import Pipeline, StepContext, step


class Leave(Struct):
    note: str
    case: str


class Way(Struct):
    way: str


class Folder(Struct):
    folder: str


class Nothing(Struct):
    pass


def start_processes() -> list[int]:
    """Start a child, a session leader, and an orphan in a session of its own; return their ids."""
    child = subprocess.Popen(["sleep", "600"])
    leader = subprocess.Popen(["sleep", "600"], start_new_session=True)
    orphan = subprocess.run(
        ["sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True, check=True
    )
    return [child.pid, leader.pid, int(orphan.stdout)]


@step(runs_in="process", retries=0)
def leave(context: StepContext[Leave]) -> None:
    note = Path(context.params.note)
    if note.with_name("stop").exists():
        return
    started = start_processes()
    part = note.with_name("part")
    part.write_text(" ".join(map(str, started)) + "\n")
    part.rename(note)
    match context.params.case:
        case "raises":
            raise LookupError("on purpose")
        case "exits":
            os._exit(3)
        case "is_killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "kills_its_group":
            os.killpg(0, signal.SIGKILL)
        case "waits":
            time.sleep(600)
        case "holds_the_lock":
            re.match("(a+)+$", "a" * 40 + "b")


def square(number: int) -> int:
    return number * number


@step(runs_in="process", retries=0)
def work_in_parallel(context: StepContext[Way]) -> list[int]:
    if context.params.way == "executor":
        with ProcessPoolExecutor(2) as executor:
            return list(executor.map(square, [1, 2, 3]))
    with multiprocessing.get_context(context.params.way).Pool(2) as pool:
        return pool.map(square, [1, 2, 3])


@step(runs_in="process", retries=0)
def end_slowly(context: StepContext[Folder]) -> None:
    folder = Path(context.params.folder)
    atexit.register((folder / "atexit").write_text, "called")

    def join() -> None:
        time.sleep(0.2)
        (folder / "thread").write_text("joined")

    threading.Thread(target=join).start()
    logging.getLogger("of.the.author").warning("a line of the step")


@step(runs_in="process", retries=0)
def roll(context: StepContext[Nothing]) -> list[float]:
    return [random.random(), float(np.random.rand())]  # noqa: S311  (the global generators)


@step(runs_in="process", retries=0)
def tell(context: StepContext[Nothing]) -> None:
    logging.getLogger("of.the.author").warning(
        "a line of the step with %s", os.environ["HEADRACE_SECRET_KEY"]
    )


def only(name: str, params: type[Struct], function: Any) -> Pipeline:
    pipeline = Pipeline(name, params=params)
    pipeline.add(function, result=True)
    return pipeline


leaving = only("leaving", Leave, leave)
parallel = only("parallel", Way, work_in_parallel)
exiting = only("exiting", Folder, end_slowly)
telling = only("telling", Nothing, tell)
rolling = only("rolling", Nothing, roll)
