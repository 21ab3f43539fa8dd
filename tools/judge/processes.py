"""Judge in several processes, where the machine can fork: each has a processor of its own.

Law of this file: the chunks and their order are the caller's; who works on which is decided here.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.judge.tallies import Tally, Writer, tally
from runstate_abi.writer.rulebook.requests import Request
from runstate_abi.writer.rules import Profile

Make = Callable[[], Writer]
Chunks = Sequence[Sequence[Request]]
Answer = tuple[int, Tally | str]


def run(
    make: Make, chunks: Chunks, profile: Profile, jobs: int, progress: Callable[[int], None]
) -> list[Tally]:
    """Return the tally of each chunk, in order (WitnessError as soon as one cannot be judged)."""
    context = multiprocessing.get_context("fork")
    pipes: list[Connection] = []
    workers = []
    for number in range(min(jobs, len(chunks))):
        ours, theirs = context.Pipe(duplex=False)
        mine = range(number, len(chunks), jobs)
        worker = context.Process(target=_work, args=(make, chunks, mine, profile, theirs))
        worker.start()
        theirs.close()
        workers.append(worker)
        pipes.append(ours)
    try:
        return _gathered(pipes, chunks, progress)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _work(make: Make, chunks: Chunks, mine: range, profile: Profile, pipe: Connection) -> None:
    number = mine.start
    try:
        writer = make()
        for number in mine:
            pipe.send((number, tally(writer, chunks[number], profile)))
    except WitnessError as error:
        pipe.send((number, str(error)))
    pipe.close()


def _gathered(
    pipes: list[Connection], chunks: Chunks, progress: Callable[[int], None]
) -> list[Tally]:
    found: dict[int, Tally] = {}
    while pipes:
        for pipe in wait(pipes):
            assert isinstance(pipe, Connection)
            try:
                number, answer = pipe.recv()
            except EOFError:
                pipes.remove(pipe)
                continue
            if isinstance(answer, str):
                raise WitnessError(answer)
            found[number] = answer
            progress(sum(len(chunks[one]) for one in found))
    if len(found) < len(chunks):
        raise WitnessError(f"a process ended early: {len(found)} of {len(chunks)} chunks judged")
    return [found[number] for number in range(len(chunks))]
