"""The `edge-proxy` command and its sub-commands. Exit codes: 0 fine, 1 a check failed, 2 bad input or configuration."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from edge_proxy import __version__
from edge_proxy.cli import equipment, evidence, numbers, scanners
from edge_proxy.config import ConfigErrors
from edge_proxy.errors import ConfigError, EdgeProxyError

EXIT_CHECK_FAILED: Final = 1
EXIT_BAD_INPUT: Final = 2

_DEFAULT_CONFIG: Final = Path("config/edge-proxy.yaml")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A SIP edge proxy that checks who may call as whom, and keeps the evidence.",
)
app.add_typer(equipment.app, name="equipment")
app.add_typer(evidence.app, name="evidence")
app.add_typer(numbers.app, name="numbers")
app.add_typer(scanners.app, name="scanners")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]


@app.command()
def run(config: ConfigOption = _DEFAULT_CONFIG) -> None:
    """Serve. SIGHUP reloads the configuration, SIGTERM stops after what is under way."""
    from edge_proxy.transport.memory import take_over

    take_over()  # first: what a start needs only for itself lies in slabs too
    from edge_proxy import supervisor

    supervisor.run(config)


@app.command()
def check(config: ConfigOption = _DEFAULT_CONFIG) -> None:
    """Check a configuration and every file it names, without serving."""
    from edge_proxy.assertions import check_assertions
    from edge_proxy.compile import compile_snapshot
    from edge_proxy.config import load_settings
    from edge_proxy.starting import check_certificates

    settings = load_settings(config)
    check_certificates(settings)
    snapshot = compile_snapshot(settings)
    held = check_assertions(settings, snapshot)
    for warning in snapshot.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    owned = snapshot.rulebook.ownership.numbers
    found = (
        *(_counted(len(snapshot.customers), "customer"), _counted(owned, "number")),
        *(_counted(len(snapshot.trunks), "trunk"), _counted(snapshot.asn_table.ranges, "ASN range")),
    )
    print(
        f"{config}: fine; {', '.join(found)}; {_counted(held, 'assertion')} {'holds' if held == 1 else 'hold'}; "
        f"snapshot {snapshot.version}"
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


@app.command()
def demo(
    config: ConfigOption = _DEFAULT_CONFIG,
    seconds: Annotated[float | None, typer.Option(help="End by itself after this long; else at Ctrl-C.")] = None,
) -> None:
    """The proxy with real SIP peers on loopback: good, spoofed, switched-network and unknown traffic."""
    from edge_proxy.cli.demo.command import run_demo

    raise typer.Exit(run_demo(config, seconds))


@app.command()
def explain(
    message: Annotated[Path, typer.Argument(help="A file that holds one SIP request as it came.")],
    source: Annotated[
        str,
        typer.Option(
            help="Where it came from: udp:IP:PORT, tcp:IP:PORT or tls:IP:PORT; by default what the file says."
        ),
    ] = "",
    config: ConfigOption = _DEFAULT_CONFIG,
    side: Annotated[str, typer.Option(help="customers or carriers; by default told from the source.")] = "",
    identity: Annotated[
        list[str] | None, typer.Option(help="A name in its TLS certificate, as in tls_identities; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for machines.")] = False,
) -> None:
    """The verdict on a saved request, rule by rule, by the code that judges live traffic."""
    from edge_proxy.cli.explain import explain_message

    explain_message(config, message, source, side, tuple(identity or ()), as_json=as_json)


@app.command()
def diff(
    messages: Annotated[
        list[Path] | None, typer.Argument(help="Saved requests, or directories of *.sip files.")
    ] = None,
    config: ConfigOption = _DEFAULT_CONFIG,
    new: Annotated[Path | None, typer.Option("--with", help="The configuration to compare with.")] = None,
    numbers: Annotated[
        Path | None, typer.Option(help="A CSV file of numbers, laid over the inventory as `numbers import` would.")
    ] = None,
    journal: Annotated[bool, typer.Option("--journal", help="The attempts in the evidence journal instead.")] = False,
    since: Annotated[str, typer.Option(help="Of the journal from this day on: 2027-01-31 (UTC).")] = "",
    source: Annotated[str, typer.Option(help="Where those came from that do not say: udp:IP:PORT.")] = "",
    side: Annotated[str, typer.Option(help="customers or carriers; by default told from the source.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for machines.")] = False,
) -> None:
    """Which saved requests another configuration, or a file of numbers, judges otherwise. Exit 0: none, 1: some.

    With --journal, which recorded attempts. A record holds who sent, claimed and called, but no body and none of the
    headers that tell of forwarding, privacy or where a call began: attempts that its record is too little for, and
    those that limits refused, are left out and counted. For the rest save messages.
    """
    from edge_proxy.cli.diff import DiffError, diff_messages
    from edge_proxy.cli.diff_journal import diff_journal
    from edge_proxy.evidence.reading import parse_day

    if new is None and numbers is None:
        raise DiffError("nothing says what to compare with; write --with FILE.yaml, --numbers FILE.csv, or both")
    if journal and (messages or source or side):
        raise DiffError("--journal says itself where its attempts came from; leave out messages, --source and --side")
    if since and not journal:
        raise DiffError("--since is about the journal; write --journal with it")
    if journal:
        differs = diff_journal(config, new or config, parse_day(since), numbers, as_json=as_json)
    else:
        differs = diff_messages(config, new or config, numbers, messages or [], source, side, as_json=as_json)
    if differs:
        raise typer.Exit(EXIT_CHECK_FAILED)


@app.command()
def version() -> None:
    """Print the version."""
    print(f"edge-proxy {__version__}")


def _unwrap_help(commands: typer.Typer) -> None:
    """Let the terminal break the lines of a docstring: those below its first paragraph would stay as they are here."""
    for command in commands.registered_commands:
        paragraphs = (inspect.getdoc(command.callback) or "").split("\n\n")
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    for group in commands.registered_groups:
        if group.typer_instance is not None:
            _unwrap_help(group.typer_instance)


def main() -> NoReturn:
    """Run the command; every declared error is told in one line each, without a traceback."""
    _unwrap_help(app)
    try:
        app(standalone_mode=True)
    except ConfigErrors as errors:
        for error in errors.errors:
            print(error, file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    except (ConfigError, EdgeProxyError) as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        sys.exit(0)
    sys.exit(0)
