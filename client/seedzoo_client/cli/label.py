"""`zoo label`: pick a variant with few labels, which are asked for one by one.

How it goes on after a break: every answer is in the progress file before it goes to the server, and on the server
before the next question. The same command finds its session on the server again (it is named after the data, the
family's release, budget, audit, seed, alpha and delta) and asks only what is not answered yet. Whatever the server asks
that the progress file knows is answered from there, and from ``--from`` next: so a server that lost its data is told
again, and a larger budget, which is a session of its own because a concluded one stays as it is, repeats no question.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from seedzoo.console import Console, plain, to_plain_data
from seedzoo.errors import AlreadyExists, Cancelled, DataError, NotFound, RequestError
from seedzoo.records import SelectionReport
from seedzoo_client.cli.ask import Asker, StoppedError
from seedzoo_client.cli.options import (
    FilePath,
    kept_images,
    open_client,
    progress_bar,
    say_what_is_kept,
    server_option,
)
from seedzoo_client.cli.report import render_report
from seedzoo_client.cli.text import count
from seedzoo_client.label_file import LabelFile, real_paths
from seedzoo_client.labelling import DATA_GONE, LabelDiffers, LabellingSession, LabellingSettings, Question
from seedzoo_client.labels import ClassMatcher, read_label_map
from seedzoo_client.progress import Progress, Stage
from seedzoo_client.quoting import quoted
from seedzoo_client.scan import Scan, scan_data

__all__ = ["label"]

_HELP = """Pick a variant with few labels: answer for the images that say most.

\b
  zoo label --data unlabelled/ --budget 50
  zoo label --data unlabelled/ --budget 150 --audit 100     to be told an accuracy too

The images need no labels; those they have are not used. Each answer is kept at once, on the server and in a file: run
the same command again to go on after a break, or with a larger budget. The file is no random sample, so `zoo select`
refuses it; `--from` takes it, and any other CSV file with path,label, as answers.
"""


@click.command(help=_HELP)
@click.option("--data", required=True, type=FilePath(), help="Folder of images, or CSV with path.")
@click.option("--budget", required=True, type=int, help="Labels in all, earlier ones and those of --audit included.")
@click.option("--family", help="Which family to choose from, where the server has several.")
@click.option("--audit", default=0, show_default=True, help="Ask for a random sample of that size first.")
@click.option("--from", "answers", type=FilePath(), help="CSV with path,label that answers.")
@click.option("--open", "open_images", is_flag=True, help="Show each image.")
@click.option(
    "--progress",
    "file",
    type=FilePath(dir_okay=False),
    help="File of the answers given; DATA.labels.csv in this folder otherwise.",
)
@click.option("--label-map", type=FilePath(), help="CSV, JSON or TOML: your class names to the task's.")
@click.option("--seed", default=0, show_default=True, help="Of the questions drawn.")
@click.option("--alpha", default=0.05, show_default=True, help="1 - certainty that the candidates hold the best.")
@click.option("--delta", default=0.01, show_default=True, help="What counts as just as good; 0.01 is one point.")
@server_option
def label(
    data: Path,
    budget: int,
    family: str | None,
    audit: int,
    answers: Path | None,
    open_images: bool,
    file: Path | None,
    label_map: Path | None,
    seed: int,
    alpha: float,
    delta: float,
    server: str | None,
) -> None:
    """Run `zoo label`."""
    console = Console.current()
    # What is wrong with numbers and files needs no server to be told.
    LabellingSettings(budget=budget, audit=audit, seed=seed, alpha=alpha, delta=delta)
    scan_data(data, unlabelled=True)
    given = None if answers is None else _scan_answers(answers)
    names = {} if label_map is None else read_label_map(label_map)
    with ExitStack() as opened:
        kept = opened.enter_context(LabelFile.opened(_default_file(data) if file is None else file))
        client = opened.enter_context(open_client(server))
        try:
            with console.resumable("what is uploaded stays on the server"), progress_bar(console) as show:
                session = client.label(
                    data, budget=budget, family=family, audit=audit, seed=seed, alpha=alpha, delta=delta, progress=show
                )
            for warning in session.warnings:
                console.warn(warning)
            matcher = ClassMatcher(session.dataset.classes, names)
            run = _Run(console, session, kept, matcher)
            asker = Asker(
                console,
                matcher,
                numeric_names=any(name.strip().isdecimal() for name in (*session.dataset.classes, *names)),
                open_images=open_images,
            )
            with console.resumable(f"{kept.path} and the server have all answers"):
                report = run.go(asker, None if given is None else _bound(given, session, matcher))
        except NotFound as error:
            if error.reason in DATA_GONE:
                error.message = "the images were deleted from the server in the meantime"
                error.hint = f"Run the same command again: it sends them again, and the answers in {kept.path}."
            say_what_is_kept(console, client, error)
            raise
        except BaseException as error:
            say_what_is_kept(console, client, error)
            raise
    if report is None:
        console.result({"finished": False, **run.facts()}, *run.standing())
        console.hint("run the same command again to go on")
        return
    paths = [item.path for item in session.dataset.items]
    console.result({"finished": True, **_document(report, paths), **run.facts()}, render_report(report, paths=paths))
    console.note(f"the answers are in {kept.path}; {kept_images(session.dataset_id)}")
    if not session.settled:
        console.hint("more labels: the same command with a larger --budget; it repeats no question")
    console.hint(f"zoo download {plain(report.recommended)} --to ./")


class _Run:
    """One run of the command: the session on the server, and the file of answers."""

    def __init__(self, console: Console, session: LabellingSession, file: LabelFile, matcher: ClassMatcher) -> None:
        self._console = console
        self._session = session
        self._file = file
        file.bind(session.dataset, matcher)
        self._sent: list[int] = []
        """Images of the file whose label the server has."""

    def go(self, asker: Asker, answers: tuple[Path, dict[int, int]] | None) -> SelectionReport | None:
        """Ask until the budget is used up; None where somebody said to stop.

        Raises:
            AlreadyExists: The server has other labels than the file.
            Cancelled: The answers ended too early.
            DataError: ``answers`` lacks an image that is asked for.
        """
        session, tell = self._session, self._tell
        concluded = session.report is not None
        questions = session.next(progress=tell)
        if session.labelled:
            self._compare()
            questions = session.next(progress=tell)
        if concluded:
            self._console.note("this session was concluded before; a larger --budget goes on from its labels")
        elif questions:
            waiting = len(self._file.labels) - len(self._sent)
            more = f", where {count(waiting, 'more answer')} may be of use" if waiting > 0 else ""
            self._console.note(f"{self._given()}; answers go to {self._file.path}{more}")
        try:
            while questions:
                for question in questions:
                    self._give(question, self._label_of(question, asker, answers))
                questions = session.next(progress=tell)
        except StoppedError as stop:
            if stop.asked_to:
                return None
            raise Cancelled(
                f"the answers ended: {self._given()}{self._where()}",
                hint="Run the same command again to go on.",
            ) from None
        if session.settled and session.labelled < session.settings.budget:
            self._console.note(f"stopped after {count(session.labelled, 'label')}: more would not change the choice")
        return session.finish(progress=tell)

    def _compare(self) -> None:
        """Check that server and file agree, and find out which labels of the file the server has."""
        for index, known in self._file.labels.items():
            if len(self._sent) >= self._session.labelled:
                break  # the rest of the file is for later questions
            try:
                if self._session.knows(index, known, progress=self._tell):
                    self._sent.append(index)
            except AlreadyExists as error:
                raise self._contradiction(index, known, error) from error
        elsewhere = self._session.labelled - len(self._sent)
        if elsewhere > 0:
            self._console.warn(
                f"the server has {count(elsewhere, 'label')} that {self._file.path} lacks; they count, but cannot be "
                "repeated for a larger --budget"
            )

    def _contradiction(self, index: int, label: int, error: AlreadyExists) -> AlreadyExists:
        """The server has another label of an image than the file."""
        classes, file = self._session.dataset.classes, self._file.path
        theirs = f", namely {quoted(classes[error.known])}" if isinstance(error, LabelDiffers) else ""
        back = f" ({quoted(classes[error.known])})" if isinstance(error, LabelDiffers) else ""
        return AlreadyExists(
            f"{file} calls {self._session.dataset.items[index].path} {quoted(classes[label])}, "
            f"the server was told otherwise before{theirs}",
            hint="A label cannot be changed, the later questions follow from it: "
            f"write the server's{back} into {file} and run the same command again, "
            f"or start anew from the file as it is with --seed {self._session.settings.seed + 1}.",
            reason=error.reason,
        )

    def _label_of(self, question: Question, asker: Asker, answers: tuple[Path, dict[int, int]] | None) -> int:
        if question.index in self._file.labels:
            return self._file.labels[question.index]
        if answers is None:
            return asker(question, self._lead())
        source, known = answers
        if question.index not in known:
            raise DataError(
                f"{source} has no label for {question.path}, which is asked for",
                hint="Add it and run the same command again; the answers so far are kept.",
                reason="ANSWER_MISSING",
            )
        return known[question.index]

    def _lead(self) -> str:
        session = self._session
        lead = f"[{session.labelled + 1}/{session.settings.budget}]"
        if session.labelled < session.settings.audit:
            return f"{lead} random sample:"
        return f"{lead} {count(session.candidates, 'variant')} may be the best:"

    def _give(self, question: Question, label: int) -> None:
        # First the file: what the server knows must be in it, not the other way round.
        name = self._session.dataset.classes[label]
        self._file.record(question.index, question.path, label, name, question.probability)
        try:
            self._session.submit({question.index: label}, progress=self._tell)
        except AlreadyExists as error:
            # Somebody answers the same questions elsewhere, with another file.
            raise self._contradiction(question.index, label, error) from error
        self._sent.append(question.index)

    def facts(self) -> dict[str, Any]:
        """What a script wants beside the report."""
        session = self._session
        return {
            "dataset_id": session.dataset_id,
            "selection_id": session.selection_id,
            "budget": session.settings.budget,
            "labelled": session.labelled,
            "leader": session.leader,
            "labels": [
                {
                    "path": str(session.dataset.items[index].path),
                    "label": session.dataset.classes[self._file.labels[index]],
                    "probability": self._file.probability(index),
                }
                for index in self._sent
            ],
            "progress_file": str(self._file.path),
            "data_warnings": list(session.warnings),
        }

    def standing(self) -> tuple[str, ...]:
        """How things are when somebody stops, to be read."""
        session = self._session
        return (
            f"{self._given()}{plain(self._where())}.",
            f"Leading now: {plain(session.leader)}; {count(session.candidates, 'variant')} may be the best.",
        )

    def _given(self) -> str:
        return f"{self._session.labelled} of {self._session.settings.budget} labels are given"

    def _where(self) -> str:
        """Where the labels are: the server may have some that the file lacks."""
        missing = self._session.labelled - len(self._sent)
        if missing > 0:
            return f", all on the server and {len(self._sent)} of them in {self._file.path}"
        return f", in {self._file.path} and on the server"

    def _tell(self, progress: Progress) -> None:
        if progress.stage is Stage.RECONNECTING:
            self._console.note(f"{progress.detail}, trying again")


def _default_file(data: Path) -> Path:
    found = data.resolve()
    return Path(f"{found.stem if found.is_file() else found.name or 'data'}.labels.csv")


def _scan_answers(path: Path) -> Scan:
    scan = scan_data(path, unlabelled=True)
    if not scan.labels:
        raise RequestError(f"{path} has no labels", hint="Give a CSV file with the columns path,label.", field="from")
    return scan


def _bound(scan: Scan, session: LabellingSession, matcher: ClassMatcher) -> tuple[Path, dict[int, int]]:
    """The class of each image that the file of answers names."""
    stranger = matcher.unknown(scan.labels, source=str(scan.source))
    if stranger is not None:
        raise stranger
    index_of = real_paths(session.dataset)
    found: dict[int, int] = {}
    for example in scan.examples:
        label = None if example.label is None else matcher.index(example.label)
        if label is not None:
            found.update(dict.fromkeys(index_of.get(os.path.realpath(example.path), []), label))
    return scan.source, found


def _document(report: SelectionReport, paths: list[Path]) -> dict[str, Any]:
    document: dict[str, Any] = to_plain_data(report)
    for doubt in document["label_doubts"]:
        doubt["path"] = str(paths[doubt["index"]])
    return document
