"""Execute the course's notebooks: `run` into build/, `store` with fresh outputs in place."""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from build_folder import BUILD, FULL, put, usable, write
from locks import locked
from private_settings import use_private_settings
from stopping import stoppable
from timetable import estimate, quick_first, seconds

# What needs Jupyter is imported late: that takes seconds on a busy machine, and Ctrl-C shall end them too.
WAITING = "Another `make run` is at work here: waiting for it, for two at once would each take longer."


class Failure(Exception):
    """A notebook could not be executed; the message says why."""


def run(paths: list[Path], build: Path, again: bool = False) -> int:
    """Execute notebooks into build/, the quick ones first, and return the exit status.

    One that is finished and unchanged is left as it is, unless `again`.
    """
    from finished import is_finished

    build.mkdir(parents=True, exist_ok=True)
    with locked(build, message=WAITING):
        done = [] if again else [path for path in paths if is_finished(path, build)]
        times = seconds()
        todo = quick_first([path for path in paths if path not in done], times)
        if done:
            print(f"Finished before and unchanged: {_names(done)}. To execute all again: make run AGAIN=1", flush=True)
        if todo:
            takes = estimate(todo, times)
            length = f", {takes}" if takes else ""
            place = f"Each copy is in {_seen(build)} as soon as its line is here."
            print(f"Executing {_number(todo)}{length}. {place}", flush=True)
        return for_each(todo, lambda path: run_one(path, build))


def run_one(path: Path, build: Path) -> str:
    import nbformat

    from execution import NotebookFailed, execute
    from finished import fingerprint, note
    from notebook_file import NotANotebook, clean_metadata

    try:
        made_of, start = fingerprint(path), time.perf_counter()
        nb = execute(path)
    except NotANotebook as error:
        raise Failure(error) from None
    except NotebookFailed as failure:
        if failure.notebook:
            clean_metadata(failure.notebook)
            note(path, "", build)
            copy = put(path.name, nbformat.writes(failure.notebook) + "\n", build)
            raise Failure(f"{failure}\nWhat was executed: {_seen(copy)}") from None
        raise Failure(failure) from None
    clean_metadata(nb)
    note(path, "", build)  # until it is written
    copy = put(path.name, nbformat.writes(nb) + "\n", build)
    note(path, made_of, build)
    return f"{time.perf_counter() - start:.0f} s, see {_seen(copy)}"


def store(paths: list[Path]) -> int:
    """Execute notebooks and write their outputs into them, where anything changed; return the exit status."""
    return for_each(paths, store_one)


def store_one(path: Path) -> str:
    import nbformat

    from execution import NotebookFailed, execute
    from notebook_file import clean_metadata, compared, put_slide_types, read

    try:
        nb = execute(path)
    except NotebookFailed as failure:
        raise Failure(failure) from None
    before = read(path)
    for notebook in (nb, before):
        clean_metadata(notebook)
        put_slide_types(notebook)
    text = nbformat.writes(before if compared(nb) == compared(before) else nb) + "\n"
    if text == path.read_text(encoding="utf-8"):
        return "nothing changed, left as it is"
    write(path, text)
    return f"stored, {path.stat().st_size / 1000:.0f} kB"


def for_each(paths: list[Path], work: Callable[[Path], str]) -> int:
    """Do `work` for each notebook and print what it says; return 0, or 1 if any failed or the disk is full.

    A notebook that fails does not keep the others from being executed. Ctrl-C says what is not finished, and goes on
    as KeyboardInterrupt.
    """
    left, finished, failed = list(paths), [], []
    try:
        while left:
            try:
                print(f"{left[0].name}: {work(left[0])}", flush=True)
                finished.append(left.pop(0))
            except Failure as failure:
                print(f"\n{failure}\n", file=sys.stderr, flush=True)
                failed.append(left.pop(0))
    except KeyboardInterrupt:
        print(f"\nStopped. {_state(finished, failed, left)}\nThe same command goes on from here.", file=sys.stderr)
        raise
    except OSError as error:
        advice = "Make room on the disk" if error.errno in FULL else "Mend that"
        cause = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        print(f"\n{cause}. {_state(finished, failed, left)}\n{advice}; then the same command goes on.", file=sys.stderr)
        return 1
    if failed:
        print(_state(finished, failed, left), file=sys.stderr)
    return 1 if failed else 0


def _state(finished: list[Path], failed: list[Path], left: list[Path]) -> str:
    kinds = {"Finished": finished, "Failed": failed, "Not finished": left}
    return " ".join(
        f"{kind}: {_names(paths) or 'none'}." for kind, paths in kinds.items() if paths or kind == "Finished"
    )


def _names(paths: list[Path]) -> str:
    return ", ".join(path.stem for path in paths)


def _number(paths: list[Path]) -> str:
    return "1 notebook" if len(paths) == 1 else f"{len(paths)} notebooks"


def _seen(path: Path) -> str:
    """Return a path as seen from the working directory, if it lies there."""
    return os.fspath(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def main(arguments: list[str]) -> int:
    """Return the exit status: 1 after a failure, which is then on stderr; 128 + the signal's number after Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["run", "store"])
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--again", action="store_true", help="execute finished ones too")
    parser.add_argument("--build", type=Path, default=BUILD, help="the folder for executed copies")
    options = parser.parse_args(arguments)
    with stoppable() as stop:
        try:
            use_private_settings()
            if options.command == "store":
                return store(options.notebooks)
            return run(options.notebooks, usable(options.build), options.again)
        except KeyboardInterrupt:
            return stop.status
        except OSError as error:
            print(f"{error.strerror or error}: {error.filename or ''}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
