"""The real proxy under real traffic, scraped by the real Prometheus: every panel, rule and annotation shows data.

The committed files are used as they are; only addresses, ports, paths and the pace of scrapes are replaced.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.kit.peers import missing

ROOT: Final = Path(__file__).parents[2]
DASHBOARD: Final[dict[str, Any]] = json.loads((ROOT / "deploy/grafana/dashboards/edge-proxy.json").read_text())
RULES: Final[dict[str, Any]] = yaml.safe_load((ROOT / "deploy/prometheus/rules/edge_proxy.yml").read_text())

_PATIENCE_S: Final = 40.0
_PATIENCE_LATER_S: Final = 8.0
_POLL_S: Final = 0.25
_TICK_S: Final = 0.05
_HOLD_S: Final = 0.6

# Grafana's own variables as it would set them for scrapes of one second, and "All" nodes.
_VARIABLES: Final = {"$__rate_interval": "15s", "$__range": "60s", "$instance": ".*"}

pytestmark = [pytest.mark.prometheus, pytest.mark.timeout(180)]


# -- traffic ----------------------------------------------------------------------------------------------------------


def fields(message: bytes, name: bytes) -> list[bytes]:
    """The values of a header, in order; our peers write long names only, and so does the proxy."""
    head = message.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return [value.strip() for key, _, value in (line.partition(b":") for line in head) if key.lower() == name.lower()]


def uri_in(value: bytes) -> bytes:
    return value[value.index(b"<") + 1 : value.index(b">")]


@dataclass
class Peer:
    """One SIP user agent on one UDP socket: answers what it is asked, acknowledges and hangs up what it began."""

    host: str
    proxy: tuple[str, int] = ("", 0)
    sock: socket.socket = field(init=False)
    hang_ups: list[tuple[float, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((self.host, 0))
        self.sock.setblocking(False)

    @property
    def place(self) -> bytes:
        return b"%s:%d" % (self.host.encode(), self.sock.getsockname()[1])

    def send(self, data: bytes) -> None:
        self.sock.sendto(data, self.proxy)

    def invite(self, n: int, caller: bytes, called: bytes, times: int = 1) -> None:
        """Begin a call; `times` above 1 sends it again at once, as a retransmission."""
        message = self._request(b"INVITE", b"sip:%s@%s:%d" % (called, self.proxy[0].encode(), self.proxy[1]), n, caller)
        for _ in range(times):
            self.send(message)

    def options(self, n: int) -> None:
        self.send(self._request(b"OPTIONS", b"sip:%s:%d" % (self.proxy[0].encode(), self.proxy[1]), n, b"ping"))

    def _request(self, method: bytes, uri: bytes, n: int, caller: bytes) -> bytes:
        return b"\r\n".join(
            [
                b"%s %s SIP/2.0" % (method, uri),
                b"Via: SIP/2.0/UDP %s;branch=z9hG4bK-%d-%s" % (self.place, n, method),
                b"Max-Forwards: 70",
                b"From: <sip:%s@%s>;tag=f%d" % (caller, self.host.encode(), n),
                b"To: <%s>" % uri,
                b"Call-ID: %d@%s" % (n, self.host.encode()),
                b"CSeq: 1 %s" % method,
                b"Contact: <sip:%s>" % self.place,
                b"User-Agent: test-peer",
                b"Content-Length: 0",
                b"",
                b"",
            ]
        )

    def receive(self, now: float) -> None:
        while True:
            try:
                data, source = self.sock.recvfrom(65535)
            except BlockingIOError:
                return
            if data.startswith(b"SIP/2.0 "):
                self._answered(data, now)
            elif data[:7] == b"INVITE ":
                self._answer(data, source, b"180 Ringing")
                is_busy = fields(data, b"From")[0].startswith(b"<sip:+1310555019")
                self._answer(data, source, b"486 Busy Here" if is_busy else b"200 OK")
            elif not data.startswith(b"ACK "):
                self._answer(data, source, b"200 OK")

    def _answer(self, request: bytes, source: tuple[str, int], status: bytes) -> None:
        lines = [b"SIP/2.0 " + status]
        for name in (b"Via", b"From", b"Call-ID", b"CSeq", b"Record-Route"):
            lines += [name + b": " + value for value in fields(request, name)]
        to = fields(request, b"To")[0]
        lines.append(b"To: " + (to if b";tag=" in to else to + b";tag=callee"))
        lines += [b"Contact: <sip:%s>" % self.place, b"Content-Length: 0", b"", b""]
        self.sock.sendto(b"\r\n".join(lines), source)

    def _answered(self, response: bytes, now: float) -> None:
        status = int(response[8:11])
        if status < 200 or fields(response, b"CSeq")[0] != b"1 INVITE":
            return
        if status >= 300:
            # The ACK of a refusal belongs to the INVITE's transaction (RFC 3261 §17.1.1.3).
            self.send(
                self._in_dialog(response, b"ACK", b"sip:%s:%d" % (self.proxy[0].encode(), self.proxy[1]), 1, True)
            )
            return
        target = uri_in(fields(response, b"Contact")[0])
        self.send(self._in_dialog(response, b"ACK", target, 1, False))
        self.hang_ups.append((now + _HOLD_S, self._in_dialog(response, b"BYE", target, 2, False)))

    def _in_dialog(self, response: bytes, method: bytes, uri: bytes, cseq: int, is_same_branch: bool) -> bytes:
        via = fields(response, b"Via")[0]
        branch = via.partition(b"branch=")[2].partition(b";")[0]
        lines = [
            method + b" " + uri + b" SIP/2.0",
            b"Via: SIP/2.0/UDP %s;branch=%s" % (self.place, branch if is_same_branch else branch + b"-" + method),
            b"Max-Forwards: 70",
        ]
        if not is_same_branch:
            lines += [b"Route: " + value for value in reversed(fields(response, b"Record-Route"))]
        lines += [name + b": " + fields(response, name)[0] for name in (b"From", b"To", b"Call-ID")]
        return b"\r\n".join([*lines, b"CSeq: %d %s" % (cseq, method), b"Content-Length: 0", b"", b""])


class Traffic(threading.Thread):
    """Good, spoofed, watched, unknown and broken traffic, from both sides, until told to stop."""

    def __init__(self) -> None:
        super().__init__(name="traffic", daemon=True)
        self.acme, self.globex = Peer("127.0.0.2"), Peer("127.0.0.3")
        self.scanner, self.carrier = Peer("127.0.0.9"), Peer("127.0.0.1")
        self.peers = (self.acme, self.globex, self.scanner, self.carrier)
        self.stopping = threading.Event()

    def aim(self, customers: tuple[str, int], carriers: tuple[str, int]) -> None:
        for peer in self.peers:
            peer.proxy = carriers if peer is self.carrier else customers

    def run(self) -> None:
        by_fd = {peer.sock.fileno(): peer for peer in self.peers}
        for n in itertools.count(int(time.time()) * 1000):
            self._next(n)
            until = time.monotonic() + _TICK_S
            while (left := until - time.monotonic()) > 0:
                for fd in select.select(list(by_fd), [], [], left)[0]:
                    by_fd[fd].receive(time.monotonic())
            for peer in self.peers:
                due = [message for at, message in peer.hang_ups if at <= time.monotonic()]
                peer.hang_ups = [item for item in peer.hang_ups if item[0] > time.monotonic()]
                for message in due:
                    peer.send(message)
            if self.stopping.is_set():
                break
        for peer in self.peers:
            peer.sock.close()

    def _next(self, n: int) -> None:
        match n % 8:
            case 0:
                self.acme.invite(n, b"+12025550123", b"+12125550111")
            case 1:
                self.acme.invite(n, b"+12025550124", b"+12125550111", times=2)
            case 2:
                self.acme.invite(n, b"+13125550100", b"+12125550111")  # not acme's number: refused
            case 3:
                self.globex.invite(n, b"+13125550100", b"+12125550111")  # not globex's either, but only watched
            case 4:
                self.globex.invite(n, b"+13105550190", b"+12125550111")  # the far end is busy
            case 5:
                self.scanner.invite(n, b"100", b"900")
                self.scanner.send(b"\x00\x01 not SIP at all, and long enough to be looked at")
            case 6:
                self.carrier.invite(n, b"+12125550111", b"+12025550123")
                self.carrier.send(b"\x00\x01 not SIP at all, and long enough to be looked at")
            case _:
                self.carrier.invite(n, b"+12125550111", b"+12125550222")  # nobody's number
                self.acme.options(n)


# -- the servers ------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def ready_line(process: subprocess.Popen[str], errors: Path) -> str:
    assert process.stdout is not None
    readable = select.select([process.stdout], [], [], 20)[0]
    line = process.stdout.readline() if readable else ""
    assert line, f"the proxy did not become ready:\n{errors.read_text()}"
    return line


def address_in(text: str, pattern: str) -> tuple[str, int]:
    found = re.search(pattern, text)
    assert found, text
    return found[1], int(found[2])


@dataclass
class Stack:
    """What the tests talk to."""

    config: Path
    proxy: subprocess.Popen[str]
    metrics: tuple[str, int]
    prometheus_url: str
    give_up_at: float

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of Prometheus's HTTP API."""
        url = f"{self.prometheus_url}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - a server of our own
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant query whose value is a number; none when the query has no data yet."""
        data = self.ask("/api/v1/query", query=expr)
        assert data["resultType"] == "vector", expr
        return [series for series in data["result"] if series["value"][1] != "NaN"]

    def await_data(self, expr: str) -> list[dict[str, Any]]:
        """The same, once there is any. One deadline for the start, a short one after it: a broken stack fails soon."""
        give_up_at = max(self.give_up_at, time.monotonic() + _PATIENCE_LATER_S)
        while not (found := self.query(expr)):
            assert time.monotonic() < give_up_at, f"no data: {expr}"
            threading.Event().wait(_POLL_S)
        return found


def proxy_config(directory: Path, traffic: Traffic) -> Path:
    """The commented default on free ports, with the peers' addresses, and one customer in monitor mode."""
    config = yaml.safe_load((ROOT / "config/edge-proxy.yaml").read_text())
    config["data_dir"] = str(directory / "data")
    for side in ("customers", "carriers"):
        config["listeners"][side]["bind"] = "127.0.0.1:0"
    acme, globex, _ = config["customers"]
    acme["targets"] = [f"sip:{traffic.acme.place.decode()}"]
    globex["targets"] = [f"sip:{traffic.globex.place.decode()}"]
    globex["mode"] = "monitor"
    config["trunks"][0]["targets"] = [f"sip:{traffic.carrier.place.decode()}"]
    config["asn"]["table"] = str(ROOT / config["asn"]["table"])
    config["evidence"]["buffer_dir"] = str(directory)
    config["telemetry"]["listen"] = "127.0.0.1:0"
    del config["admin"], config["policy"]["assertions"]  # those are about the demo's own addresses
    path = directory / "edge-proxy.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def prometheus_config(directory: Path, metrics: tuple[str, int], listen: str) -> Path:
    """The committed file; only targets, the path of the rules and the pace are other."""
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    config["global"] = dict.fromkeys(config["global"], "1s")
    config["rule_files"] = [str(ROOT / "deploy/prometheus" / pattern) for pattern in config["rule_files"]]
    targets = {"edge-proxy": f"{metrics[0]}:{metrics[1]}", "prometheus": listen}
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Proxy, traffic and Prometheus, up for all tests of this file."""
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        missing("prometheus is not on this machine (Debian package prometheus)")
    directory = tmp_path_factory.mktemp("deploy")
    traffic = Traffic()
    config = proxy_config(directory, traffic)
    started: list[subprocess.Popen[str]] = []
    with (directory / "proxy.log").open("w") as log, (directory / "prometheus.log").open("w") as prometheus_log:
        try:
            command = [sys.executable, "-m", "edge_proxy", "run", "--config", str(config)]
            proxy = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
            started.append(proxy)
            line = ready_line(proxy, directory / "proxy.log")
            metrics = address_in(line, r"metrics http://([\d.]+):(\d+)/metrics")
            traffic.aim(address_in(line, r"customers ([\d.]+):(\d+)"), address_in(line, r"carriers ([\d.]+):(\d+)"))
            traffic.start()
            listen = f"127.0.0.1:{free_port()}"
            settings = prometheus_config(directory, metrics, listen)
            command = [prometheus, f"--config.file={settings}", f"--web.listen-address={listen}"]
            command.append(f"--storage.tsdb.path={directory / 'tsdb'}")
            started.append(subprocess.Popen(command, cwd=directory, stderr=prometheus_log, text=True))
            found = Stack(config, proxy, metrics, f"http://{listen}", time.monotonic() + _PATIENCE_S)
            await_prometheus(found, directory / "prometheus.log")
            yield found
        finally:
            if traffic.is_alive():
                traffic.stopping.set()
                traffic.join(5)
            for process in reversed(started):
                stop(process)


def await_prometheus(stack: Stack, log: Path) -> None:
    while True:
        try:
            with urllib.request.urlopen(f"{stack.prometheus_url}/-/ready", timeout=5):  # noqa: S310 - our own server
                return
        except OSError:
            assert time.monotonic() < stack.give_up_at, log.read_text()
            threading.Event().wait(_POLL_S)


# -- the tests --------------------------------------------------------------------------------------------------------


def as_grafana_asks(expr: str) -> str:
    for name, value in _VARIABLES.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, expr
    return expr


PANELS: Final = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ALERTS: Final = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
RECORDS: Final = [rule for group in RULES["groups"] for rule in group["rules"] if "record" in rule]

# A threshold: a comparison with a number. What is left of an alert without it is what the alert watches.
_THRESHOLD: Final = re.compile(r"\s*(?:==|!=|>=|<=|>|<)\s*\d+(?:\.\d+)?(?=\s|\)|$)")


def watched_by(expr: str) -> str:
    absent = re.fullmatch(r"absent\((.*)\)", expr)
    return absent[1] if absent else _THRESHOLD.sub("", expr)


def test_both_jobs_are_scraped(stack: Stack) -> None:
    """The committed scrape jobs reach the proxy and Prometheus itself."""
    for job in ("edge-proxy", "prometheus"):
        (series,) = stack.await_data(f'up{{job="{job}"}} == 1')
        assert series["value"][1] == "1"


def test_metrics_follow_the_naming_rules(stack: Stack) -> None:
    """Prometheus's own linter has nothing to say about a metric of ours."""
    promtool = shutil.which("promtool")
    assert promtool is not None
    host, port = stack.metrics
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=5) as response:
        page = response.read()
    result = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, timeout=30, check=False)
    remarks = (result.stdout + result.stderr).decode().splitlines()
    assert [line for line in remarks if line.startswith("edge_proxy")] == []


@pytest.mark.parametrize("rule", RECORDS, ids=lambda rule: rule["record"])
def test_recording_rule_records(stack: Stack, rule: dict[str, Any]) -> None:
    """Its expression has data, and so has the series it makes."""
    stack.await_data(rule["expr"])
    stack.await_data(rule["record"])


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panel_shows_data(stack: Stack, panel: dict[str, Any]) -> None:
    """Every query of the panel has data, and every label its legend names is a label of that data."""
    for target in panel["targets"]:
        found = stack.await_data(as_grafana_asks(target["expr"]))
        labels = {name for series in found for name in series["metric"]}
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alert_watches_something(stack: Stack, rule: dict[str, Any]) -> None:
    """Without its thresholds the expression has data: it is quiet because all is well, not because it is blind."""
    watched = watched_by(rule["expr"])
    assert watched != rule["expr"], "an alert without a threshold"
    stack.await_data(watched)


def test_rules_are_evaluated_without_errors(stack: Stack) -> None:
    """Prometheus has loaded every rule of the file and says of each that it is well."""
    while True:
        loaded = [rule for group in stack.ask("/api/v1/rules")["groups"] for rule in group["rules"]]
        if all(rule["health"] != "unknown" for rule in loaded):
            break
        assert time.monotonic() < stack.give_up_at
        threading.Event().wait(_POLL_S)
    assert sorted(rule["name"] for rule in loaded) == sorted(
        [rule["record"] for rule in RECORDS] + [rule["alert"] for rule in ALERTS]
    )
    assert {rule["name"]: rule.get("lastError") for rule in loaded if rule["health"] != "ok"} == {}


def test_every_message_is_accounted_for_under_traffic(stack: Stack) -> None:
    """The panel of the balance shows data, and the data is 0."""
    (panel,) = [panel for panel in PANELS if panel["title"] == "Received minus accounted for"]
    for series in stack.await_data(as_grafana_asks(panel["targets"][0]["expr"])):
        assert series["value"][1] == "0"


def test_variables_of_the_dashboard_have_values(stack: Stack) -> None:
    """label_values(metric, label) names a metric that exists with that label."""
    for variable in DASHBOARD["templating"]["list"]:
        asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
        assert asked
        assert all(asked[2] in series["metric"] for series in stack.await_data(asked[1]))


def test_health_check_of_the_container_passes_while_ready(stack: Stack) -> None:
    """The command of docker-compose.yml, whatever HTTP proxy the environment names; it fails where nobody serves."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    word, python, *arguments = compose["services"]["proxy"]["healthcheck"]["test"]
    assert (word, python) == ("CMD", "python")
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    codes = []
    for port in (stack.metrics[1], free_port()):
        here = [argument.replace(":9464/", f":{port}/") for argument in arguments]
        result = subprocess.run([sys.executable, *here], env=environment, capture_output=True, timeout=20, check=False)
        codes.append(result.returncode)
    assert codes[0] == 0
    assert codes[1] != 0


def test_refused_reload_raises_its_alert_and_shows_on_every_graph(stack: Stack) -> None:
    """From a bad file over SIGHUP to a firing alert, with its words filled in; the annotations then have data."""
    good = stack.config.read_text()
    try:
        stack.config.write_text(good + "nonsense: true\n")
        stack.proxy.send_signal(signal.SIGHUP)
        stack.await_data('ALERTS{alertname="EdgeProxyReloadFailed", alertstate="firing"}')
    finally:
        stack.config.write_text(good)
    alerts = stack.ask("/api/v1/alerts")["alerts"]
    (alert,) = [alert for alert in alerts if alert["labels"]["alertname"] == "EdgeProxyReloadFailed"]
    assert alert["annotations"]["summary"] == f"{stack.metrics[0]}:{stack.metrics[1]} refused a new configuration"
    for annotation in DASHBOARD["annotations"]["list"]:
        stack.await_data(as_grafana_asks(annotation["expr"]))
