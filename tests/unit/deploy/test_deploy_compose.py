"""docker-compose.yml and the files it mounts: well formed, existing, and of one mind about addresses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from jsonschema import Draft202012Validator

from edge_proxy.compile import compile_snapshot
from edge_proxy.config import load_settings

ROOT: Final = Path(__file__).parents[3]
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]

_TEXT: Final = {"type": "string"}
_TEXTS: Final = {"type": "array", "items": _TEXT, "minItems": 1}
_DURATION: Final = {"type": "string", "pattern": r"^(\d+(us|ms|s|m|h))+$"}
_MOUNT: Final = {
    "type": "object",
    "required": ["type", "source", "target"],
    "additionalProperties": False,
    "properties": {
        "type": {"enum": ["bind", "volume"]},
        "source": _TEXT,
        "target": {"type": "string", "pattern": "^/"},
        "read_only": {"type": "boolean"},
    },
}
# The part of the Compose Specification that the file uses, and no more: a misspelt key is an error here.
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["name", "services", "volumes"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "volumes": {"type": "object", "additionalProperties": {"type": "null"}},
        "services": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["image", "restart", "healthcheck", "logging", "cap_drop", "security_opt"],
                "additionalProperties": False,
                "properties": {
                    "build": {
                        "type": "object",
                        "required": ["context", "dockerfile"],
                        "additionalProperties": False,
                        "properties": {"context": _TEXT, "dockerfile": _TEXT},
                    },
                    "image": {"type": "string", "pattern": r"^[a-z0-9-]+(/[a-z0-9-]+)?:v?\d+\.\d+\.\d+$"},
                    "command": _TEXTS,
                    "network_mode": {"enum": ["host", "bridge", "none"]},
                    "ipc": {"enum": ["host", "private", "shareable", "none"]},
                    "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
                    "stop_grace_period": _DURATION,
                    "depends_on": {
                        "type": "object",
                        "additionalProperties": {
                            "type": "object",
                            "required": ["condition"],
                            "additionalProperties": False,
                            "properties": {"condition": {"enum": ["service_started", "service_healthy"]}},
                        },
                    },
                    # Text only: YAML's bare true would reach Grafana in whatever spelling the engine chooses.
                    "environment": {"type": "object", "additionalProperties": _TEXT},
                    "volumes": {"type": "array", "items": _MOUNT},
                    "read_only": {"type": "boolean"},
                    "tmpfs": _TEXTS,
                    "cap_drop": _TEXTS,
                    "security_opt": _TEXTS,
                    "ulimits": {"type": "object", "additionalProperties": {"type": "integer"}},
                    "healthcheck": {
                        "type": "object",
                        "required": ["test", "interval", "timeout", "retries"],
                        "additionalProperties": False,
                        "properties": {
                            "test": {**_TEXTS, "prefixItems": [{"enum": ["CMD", "CMD-SHELL"]}]},
                            "interval": _DURATION,
                            "timeout": _DURATION,
                            "retries": {"type": "integer", "minimum": 1},
                            "start_period": _DURATION,
                        },
                    },
                    "logging": {
                        "type": "object",
                        "required": ["driver", "options"],
                        "additionalProperties": False,
                        "properties": {
                            "driver": _TEXT,
                            "options": {"type": "object", "additionalProperties": _TEXT},
                        },
                    },
                },
            },
        },
    },
}

MOUNTS: Final = [(name, mount) for name, service in SERVICES.items() for mount in service.get("volumes", [])]


def source_of(mount: dict[str, Any]) -> str:
    """A mount's source as it is when no variable is set: ${NAME:-default} becomes its default."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(mount["source"]))


def option(service: str, flag: str) -> str:
    """The value of --flag=value in a service's command."""
    found = [word.removeprefix(f"{flag}=") for word in SERVICES[service]["command"] if word.startswith(f"{flag}=")]
    assert len(found) == 1, f"{flag} in {SERVICES[service]['command']}"
    return str(found[0])


def test_compose_file_fits_the_compose_specification() -> None:
    """Known keys and kinds of values only; images are pinned to major.minor.patch and named without a registry."""
    errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(SCHEMA).iter_errors(COMPOSE)]
    assert errors == []


def test_compose_file_names_only_volumes_that_it_declares() -> None:
    """A volume that is used is declared, and one that is declared is used."""
    used = {mount["source"] for _, mount in MOUNTS if mount["type"] == "volume"}
    assert used == set(COMPOSE["volumes"])


@pytest.mark.parametrize(
    ("service", "mount"),
    [(name, mount) for name, mount in MOUNTS if mount["type"] == "bind"],
    ids=lambda value: value if isinstance(value, str) else value["target"],
)
def test_bind_mount_exists_in_the_repository_and_is_read_only(service: str, mount: dict[str, Any]) -> None:
    """A missing source would become an empty folder on the host; nothing in the repository is written to."""
    assert service in SERVICES
    assert (ROOT / source_of(mount)).is_dir()
    assert mount["read_only"] is True


def test_every_service_is_bounded() -> None:
    """No capabilities, no new privileges, logs that end: for each of them."""
    for service in SERVICES.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {"max-size", "max-file"} <= set(service["logging"]["options"])


def test_proxy_sees_true_source_addresses_and_keeps_its_buffer() -> None:
    """Address translation would make all customers one; a private /dev/shm would lose evidence with the container."""
    assert SERVICES["proxy"]["network_mode"] == "host"
    assert SERVICES["proxy"]["ipc"] == "host"


def test_compose_configuration_loads_and_keeps_its_data_on_the_volume() -> None:
    """The proxy starts with it as it is, and everything that must survive lies on the volume for evidence."""
    settings = load_settings(ROOT / "deploy/compose/edge-proxy.yaml")
    assert settings.asn is not None
    assert settings.asn.table == Path("config/asn-sample.tsv")  # relative to WORKDIR, where the image has config/
    snapshot = compile_snapshot(settings)
    assert snapshot.trunks[0].committed_rate_bps
    evidence = [mount for name, mount in MOUNTS if name == "proxy" and mount["source"] == "evidence"]
    assert [mount["target"] for mount in evidence] == [str(settings.data_dir)]
    config = next(mount for name, mount in MOUNTS if name == "proxy" and mount["type"] == "bind")
    assert SERVICES["proxy"]["command"] == ["run", "--config", f"{config['target']}/edge-proxy.yaml"]


def test_addresses_agree_across_files() -> None:
    """Health check, scrape, data source and servers name each other's real addresses, all of them on loopback."""
    listen = str(load_settings(ROOT / "deploy/compose/edge-proxy.yaml").telemetry.address)
    assert f"http://{listen}/readyz" in SERVICES["proxy"]["healthcheck"]["test"][-1]
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    scraped = {job["job_name"]: job["static_configs"][0]["targets"] for job in prometheus["scrape_configs"]}
    prometheus_listen = option("prometheus", "--web.listen-address")
    assert scraped == {"edge-proxy": [listen], "prometheus": [prometheus_listen]}
    sources = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    assert sources["datasources"][0]["url"] == f"http://{prometheus_listen}"
    environment = SERVICES["grafana"]["environment"]
    grafana_listen = f"{environment['GF_SERVER_HTTP_ADDR']}:{environment['GF_SERVER_HTTP_PORT']}"
    assert f"http://{grafana_listen}/api/health" in SERVICES["grafana"]["healthcheck"]["test"][-1]
    for address in (listen, prometheus_listen, grafana_listen):
        assert address.startswith("127.0.0.1:")


def test_grafana_lets_people_look_and_nobody_log_in() -> None:
    """Viewers need no password, so there is none to leak; the default administrator cannot come in either."""
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"


def test_paths_inside_the_containers_meet_what_is_mounted() -> None:
    """Prometheus finds its file, Grafana its provisioning, and the provider its dashboards, where they are mounted."""
    targets = {mount["target"]: ROOT / source_of(mount) for _, mount in MOUNTS if mount["type"] == "bind"}

    def on_host(inside: str) -> Path:
        mount = next(target for target in targets if inside.startswith(f"{target}/") or inside == target)
        return targets[mount] / inside.removeprefix(mount).removeprefix("/")

    assert on_host(option("prometheus", "--config.file")).is_file()
    provider = yaml.safe_load((on_host("/etc/grafana/provisioning/dashboards/edge-proxy.yml")).read_text())
    assert [path.name for path in on_host(provider["providers"][0]["options"]["path"]).glob("*.json")]
    assert on_host(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).is_file()
