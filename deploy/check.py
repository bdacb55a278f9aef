"""The YAML part of check.sh: checks manifests and the rendered chart against Kubernetes' schemas."""

import json
import pathlib
import sys

import helm_python
import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).parent
VERSION = "1.31"
wrong = []


def validate(origin, text):
    for manifest in filter(None, yaml.safe_load_all(text)):
        name = f"{origin}: {manifest.get('kind')}/{manifest.get('metadata', {}).get('name')}"
        try:
            kubernetes_validate.validate(manifest, VERSION, strict=True)
            print(f"ok  {name}")
        except Exception as error:  # the validator's message says what is wrong
            wrong.append(f"{name}: {error}")


def embedded(manifests, toml):
    """The configuration in a ConfigMap is the file beside the manifest, which a test loads."""
    for manifest in filter(None, yaml.safe_load_all(manifests.read_text())):
        if manifest["kind"] == "ConfigMap" and manifest["data"]["gateway.toml"] != toml.read_text():
            wrong.append(f"{manifests}: gateway.toml differs from {toml}")


for manifests in sorted((HERE / "kubernetes").glob("*/*.yaml")):
    validate(manifests.relative_to(HERE), manifests.read_text())
    embedded(manifests, manifests.parent / "gateway.toml")

chart = helm_python.Chart.load(HERE / "helm/pigello-gateway")
values = {"config": (HERE / "kubernetes/shared/gateway.toml").read_text()}
chart.validate_schema(values)
rendered = "\n---\n".join(chart.render(values).values())
for path, text in chart.render(values).items():
    validate(f"helm {path}", text)
if "kind: NetworkPolicy" not in rendered:
    wrong.append("helm: the chart has no network policy")
pinned = values | {"image": {"digest": "sha256:" + "0" * 64}}
chart.validate_schema(pinned)
if "pigello-gateway@sha256:0" not in "".join(chart.render(pinned).values()):
    wrong.append("helm: the image's digest is not used")
for bad in [{"config": ""}, {"config": "x", "replicas": {"min": 0}}, {"config": "x", "unknown": 1}]:
    try:
        chart.validate_schema(bad)
        wrong.append(f"helm: the values {bad} should be refused")
    except Exception:
        pass

compose = yaml.safe_load((HERE / "compose/compose.yaml").read_text())
for service in compose["services"].values():
    for wanted in service.get("depends_on", {}):
        if wanted not in compose["services"]:
            wrong.append(f"compose: there is no service {wanted}")
alerts = yaml.safe_load((HERE / "prometheus/alerts.yaml").read_text())
for group in alerts["groups"]:
    for rule in group["rules"]:
        missing = {"alert", "expr", "for", "labels", "annotations"} - rule.keys()
        if missing or "summary" not in rule["annotations"]:
            wrong.append(f"alerts: {rule.get('alert')} lacks {missing or 'a summary'}")
json.loads((HERE / "grafana/dashboard.json").read_text())

sys.exit("\n".join(wrong) or 0)
