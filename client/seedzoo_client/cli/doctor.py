"""`zoo doctor`: what works, what does not, and what to do about it."""

from __future__ import annotations

import click
from rich.table import Table

from seedzoo.console import Console
from seedzoo_client.background import in_background
from seedzoo_client.checkup import Check, Outcome, checkup, first_exit_code
from seedzoo_client.cli.options import server_option
from seedzoo_client.cli.text import count, styled
from seedzoo_client.progress import ignore

__all__ = ["doctor"]

_STYLE = {Outcome.OK: "green", Outcome.TROUBLE: "bold red", Outcome.SKIPPED: "dim"}


@click.command()
@click.option("--timeout", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="Seconds per answer.")
@server_option
@click.pass_context
def doctor(ctx: click.Context, timeout: float, server: str | None) -> None:
    """Check the settings, the connection and the server, one after the other.

    Nothing is changed or sent but calls that only read. The exit code is that of the first trouble.
    """
    console = Console.current()
    checks = in_background(lambda _: checkup(server=server, timeout=timeout), progress=ignore)
    troubles = [check for check in checks if check.outcome is Outcome.TROUBLE]
    summary = "all is well" if not troubles else f"{count(len(troubles), 'trouble')}; begin with {troubles[0].name}"
    console.result({"ok": not troubles, "checks": checks}, _page(checks), summary)
    ctx.exit(first_exit_code(checks))


def _page(checks: list[Check]) -> Table:
    page = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for no_wrap in (True, True, False):
        page.add_column(no_wrap=no_wrap, overflow="fold")
    for check in checks:
        page.add_row(styled(check.outcome, _STYLE[check.outcome]), styled(check.name), styled(check.message))
        if check.hint:
            page.add_row("", "", styled(f"-> {check.hint}", "cyan"))
    return page
