"""The operator's file, checked: load_settings(path) -> Settings, or every error at once, each with its line."""

from edge_proxy.config.assertions import AssertionSettings
from edge_proxy.config.document import ConfigErrors
from edge_proxy.config.limits import LimitsSettings
from edge_proxy.config.lists import ListSettings
from edge_proxy.config.load import (
    dump,
    load_assertions,
    load_settings,
    parse_settings,
    settings_error,
    version_parts,
)
from edge_proxy.config.models import (
    AdminSettings,
    AsnSettings,
    CustomerSettings,
    EvidenceSettings,
    ListenerSettings,
    ListenersSettings,
    NumbersSettings,
    PolicySettings,
    ProbeSettings,
    Settings,
    SipSettings,
    TargetSettings,
    TelemetrySettings,
    TrunkSettings,
)
from edge_proxy.config.origins import CredentialSettings

__all__ = [
    "AdminSettings",
    "AsnSettings",
    "AssertionSettings",
    "ConfigErrors",
    "CredentialSettings",
    "CustomerSettings",
    "EvidenceSettings",
    "LimitsSettings",
    "ListSettings",
    "ListenerSettings",
    "ListenersSettings",
    "NumbersSettings",
    "PolicySettings",
    "ProbeSettings",
    "Settings",
    "SipSettings",
    "TargetSettings",
    "TelemetrySettings",
    "TrunkSettings",
    "dump",
    "load_assertions",
    "load_settings",
    "parse_settings",
    "settings_error",
    "version_parts",
]
