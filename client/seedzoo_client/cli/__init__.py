"""The command line `zoo`."""

from __future__ import annotations

import click

from seedzoo.console import EXIT_CODES_HELP, Console
from seedzoo_client.cli.group import ZooGroup

__all__ = ["main"]

_COMMANDS = {
    "compare": ("seedzoo_client.cli.compare:compare", "Compare the stress profiles of two variants."),
    "doctor": ("seedzoo_client.cli.doctor:doctor", "Check the settings, the connection and the server."),
    "download": ("seedzoo_client.cli.download:download", "Get the ONNX file of a variant."),
    "families": ("seedzoo_client.cli.browse:families", "List the families of a server or a store."),
    "forget": ("seedzoo_client.cli.forget:forget", "Delete your uploaded images from the server."),
    "label": ("seedzoo_client.cli.label:label", "Pick a variant with few labels, asked for one by one."),
    "predict": ("seedzoo_client.cli.predict:predict", "Run a model on your images, on this machine."),
    "select": ("seedzoo_client.cli.select:select", "Pick the variant that is best on your own images."),
    "show": ("seedzoo_client.cli.browse:show", "Show a family's or a variant's evidence and stress profile."),
    "variants": ("seedzoo_client.cli.browse:variants", "List the variants of a family."),
}


_HELP = """Equally accurate seed variants of one model: pick the one that works best on your own data.

\b
  zoo select --data mydata/     one folder per class, or a CSV with path,label
  zoo download FAMILY/TAG       the chosen model as an ONNX file

Settings come from flags, then from the environment (SEEDZOO_SERVER, SEEDZOO_HOME, SEEDZOO_OFFLINE, SEEDZOO_TOKEN),
then from config.toml. Results go to stdout, everything else to stderr.
"""


def _show_version(ctx: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from importlib.metadata import version  # noqa: PLC0415 - it takes longer than the rest of this module

        found = version("seedzoo")
        Console.current().result({"version": found}, f"zoo, version {found}")
        ctx.exit()


@click.group(
    cls=ZooGroup,
    help=_HELP,
    lazy=_COMMANDS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES_HELP,
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
@click.pass_context
def main(ctx: click.Context) -> None:
    """Run the command that was named; without one, show the help."""
    if ctx.invoked_subcommand is None:
        if Console.current().json_mode:
            raise click.UsageError("a command is missing", ctx=ctx)
        click.echo(ctx.get_help())
