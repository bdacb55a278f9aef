"""The YAML part of check.sh. `--write` writes the manifests of `kubernetes/` again, which are what the chart renders.

Everything that the chart can render is validated against the schemas of Kubernetes' API, and of the two operators whose
resources it makes. The configuration in it is checked by the gateway itself, where its program is named.
"""

import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import helm_python
import jsonschema
import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).parent
# The oldest version that the chart is for, and a new one.
VERSIONS = ["1.29", "1.34"]
CUSTOM = {"ExternalSecret": "externalsecret", "PodMonitor": "podmonitor"}
wrong = []
seen = set()

chart_path = HERE / "helm/pigello-gateway"
chart = helm_python.Chart.load(chart_path)


class Loader(yaml.SafeLoader):
    """YAML as the API reads it: a key that is there twice is a mistake."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"the keys {twice} are there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def documents(text):
    return list(filter(None, yaml.load_all(text, Loader)))


def validate(origin, text):
    for manifest in documents(text):
        key = json.dumps(manifest, sort_keys=True)
        if key in seen:
            continue
        seen.add(key)
        name = f"{origin}: {manifest.get('kind')}/{manifest.get('metadata', {}).get('name')}"
        try:
            if manifest["kind"] in CUSTOM:
                schema = json.loads((HERE / f"schemas/{CUSTOM[manifest['kind']]}.json").read_text())
                jsonschema.validate(manifest, schema)
                continue
            for version in VERSIONS:
                kubernetes_validate.validate(manifest, version, strict=True)
        except Exception as error:  # the validator's message says what is wrong
            wrong.append(f"{name}: {error}")


def merged(*layers):
    """What `helm -f A -f B` makes of values."""
    result = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def pods(rendered):
    for manifest in documents(rendered):
        if manifest["kind"] == "Pod":
            yield manifest["spec"]
        elif "template" in manifest.get("spec", {}) and manifest["kind"] in ("StatefulSet", "Job"):
            yield manifest["spec"]["template"]["spec"]


def render(values, name="pigello-gateway"):
    """All manifests, without the notes."""
    chart.validate_schema(values)
    parts = chart.render(values, name=name, namespace="pigello", is_install=True)
    notes = next(text for path, text in parts.items() if path.endswith("NOTES.txt"))
    files = {path: text for path, text in parts.items() if not path.endswith("NOTES.txt")}
    return "\n---\n".join(text.strip() for text in files.values() if text.strip()) + "\n", notes


def pod_of(notes):
    """What the notes say is put into the pod of an application."""
    return documents(notes[notes.index("spec:"): notes.index("and into its")])[0]["spec"]


# Everything that can be chosen, each with all else.
APPLICATION = {"application": {"containers": [{"name": "application", "image": "registry.example/a:1"}]}}
EXTRAS = {
    "fullnameOverride": "gateway-to-pigello",
    "image": {"digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "registry"}],
    "metrics": {"podMonitor": {"enabled": True, "labels": {"release": "prometheus", "app.kubernetes.io/name": "own"}}},
    "notices": {"webhook": {
        "port": 9444, "service": {"type": "LoadBalancer", "port": 8444, "annotations": {"a/b": "c"}},
        "allowFrom": ["192.0.2.0/24", "2001:db8::/32"]}},
    "networkPolicy": {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
    "fleet": {
        "enabled": True, "role": "hub", "name": "test",
        "store": {
            "sentinels": ["s-0:26379", "s-1:26379"], "service": "pigello", "username": "", "ca": False,
            "to": [{"podSelector": {"matchLabels": {"app": "valkey"}}}], "ports": [6379, 26379]}},
    "audit": {"storageClass": "fast"},
    "serviceAccount": {"name": "other", "annotations": {"a/b": "c"}},
    "resources": {"limits": {"memory": "1Gi", "cpu": 2}},
    "podAnnotations": {"a/b": "c", "prometheus.io/scrape": "false", "checksum/config": "own"},
    "podLabels": {"team": "billing", "app.kubernetes.io/name": "own", "app.kubernetes.io/version": "own"},
    "podSecurityContext": {"supplementalGroups": [1000670000]},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}]}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "extraVolumes": [{"name": "roots", "configMap": {"name": "roots"}}],
    "extraVolumeMounts": [{"name": "roots", "mountPath": "/etc/roots", "readOnly": True}],
    "vault": {"caConfigMap": ""},
}
BARE = {
    "networkPolicy": {"enabled": False},
    "podDisruptionBudget": {"enabled": False},
    "check": {"enabled": False},
    "serviceAccount": {"create": False},
    "replicas": {"min": 1, "max": 1},
}
WEBHOOK = {"notices": {"webhook": {"enabled": True}}}
FLEET = {"fleet": {"enabled": True}}
CHOICES = [
    [{"mode": "shared"}, {"mode": "shared"} | WEBHOOK, {"mode": "sidecar"}, {"mode": "sidecar"} | APPLICATION],
    [{"source": source} for source in ("vault", "directory", "externalSecret")],
    [{}, {"metrics": {"tlsSecret": "metrics-tls"}}],
    [{}, FLEET, EXTRAS],
    [{}, BARE],
]
configurations = {}
for choice in itertools.product(*CHOICES):
    values = merged(*choice)
    text, notes = render(values)
    told = json.dumps(values)
    validate(f"helm {told}", text)
    kinds = [manifest["kind"] for manifest in documents(text)]
    runs = values["mode"] == "shared" or "application" in values
    for kind, expected in {
        "StatefulSet": runs,
        "ExternalSecret": values["source"] == "externalSecret",
        "PodMonitor": runs and EXTRAS["podLabels"] == values.get("podLabels"),
        "NetworkPolicy": values["mode"] == "shared" and values.get("networkPolicy", {}).get("enabled", True),
        "Job": values.get("check", {}).get("enabled", True),
    }.items():
        if (kind in kinds) != expected:
            wrong.append(f"helm {told}: {kind} is {'missing' if expected else 'there'}")
    webhook = values.get("notices", {}).get("webhook", {})
    opens = {
        "a Service": any(manifest["metadata"]["name"].endswith("-webhook") for manifest in documents(text)),
        "a port": any(port["name"] == "webhook" for pod in pods(text) for container in pod["containers"]
                      for port in container.get("ports", [])),
        "a way in": any({"port": "webhook"} in rule["ports"] for manifest in documents(text)
                        if manifest["kind"] == "NetworkPolicy" for rule in manifest["spec"]["ingress"]),
        "a note": "/hooks/TOKEN" in notes,
    }
    if "NetworkPolicy" not in kinds:
        del opens["a way in"]
    for what, there in opens.items():
        if there != webhook.get("enabled", False):
            wrong.append(f"helm {told}: {what} for webhooks is {'there' if there else 'missing'}")
    fleet = values.get("fleet", {})
    joins = {
        "a key": "PIGELLO_GATEWAY_FLEET__KEY__PATH" in text + notes,
        "the secret": "{ name: fleet, mountPath: /etc/fleet, readOnly: true }" in text + notes,
        "a note": "It is a " in notes,
        "a way out": any({"port": 6379} in rule["ports"] for manifest in documents(text)
                         if manifest["kind"] == "NetworkPolicy" for rule in manifest["spec"]["egress"]),
    }
    if "NetworkPolicy" not in kinds:
        del joins["a way out"]
    for what, there in joins.items():
        if there != fleet.get("enabled", False):
            wrong.append(f"helm {told}: {what} for the fleet is {'there' if there else 'missing'}")
    role = fleet.get("role") or {"shared": "hub", "sidecar": "member"}[values["mode"]]
    if fleet and f"FLEET__ROLE, value: {role} " not in text + notes:
        wrong.append(f"helm {told}: it is not a {role}")
    if ("helm -n pigello test" in notes) != ("helm.sh/hook: test" in text):
        wrong.append(f"helm {told}: the notes and the chart differ about `helm test`")
    for manifest in documents(text):
        if manifest["kind"] == "StatefulSet":
            template, selector = manifest["spec"]["template"], manifest["spec"]["selector"]["matchLabels"]
            if not selector.items() <= template["metadata"]["labels"].items():
                wrong.append(f"helm {told}: the pods do not have the labels {selector}")
            for given, there in [
                (values.get("podAnnotations", {}), template["metadata"]["annotations"]),
                (values.get("podSecurityContext", {}) | {"fsGroup": 65532}, template["spec"]["securityContext"]),
            ]:
                if not given.items() <= there.items():
                    wrong.append(f"helm {told}: {given} is not in {there}")
    for pod in pods(text):
        if pod.get("enableServiceLinks") is not False:
            wrong.append(f"helm {told}: a pod has service links")
        for container in pod["containers"] + pod.get("initContainers", []):
            startup = json.dumps(container.get("startupProbe", ""))
            if container["name"] == "gateway" and "/livez" not in startup and "--live" not in startup:
                wrong.append(f"helm {told}: the startup probe does not ask for life: {startup}")
            mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
            claims = {"gateway-audit"} if "StatefulSet" in kinds else set()
            missing = mounted - {volume["name"] for volume in pod.get("volumes", [])} - claims
            if missing:
                wrong.append(f"helm {told}: there are no volumes {missing}")
    if not runs:
        # What the notes say is put into a pod is one.
        spec = pod_of(notes) | APPLICATION["application"]
        spec["volumes"].append({"name": "gateway-audit", "emptyDir": {}})
        validate(f"notes {told}", yaml.safe_dump(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec}))
    variables = frozenset(
        (variable["name"], variable["value"]) for pod in [*pods(text), *([] if runs else [pod_of(notes)])]
        for container in pod.get("initContainers", []) + pod.get("containers", [])
        for variable in container.get("env", []) if variable["name"].startswith("PIGELLO_GATEWAY_"))
    for manifest in documents(text):
        if manifest["kind"] == "ConfigMap":
            configurations[manifest["data"]["gateway.toml"], variables] = told

# Strings that are something else in YAML without quotes. Whatever text a value has, it arrives as that text.
PLAIN = "plain-text"
ODD = ["123", "1e3", "no", "true", "null", "~", "a: b", "a, b", "kv/{env}/x", "- a", "#a", "*a", "'a", '"a', "a\\b", "%a"]


def everywhere(schema, text):
    """The values of a schema with this text wherever one may stand."""
    kind = schema.get("type")
    if kind == "string" and not {"enum", "pattern"} & schema.keys():
        return text
    if isinstance(schema.get("additionalProperties"), dict):
        return {"a/b": text}
    if kind == "object":
        made = {key: everywhere(value, text) for key, value in schema.get("properties", {}).items()}
        return {key: value for key, value in made.items() if value not in (None, {})}
    return None


def replaced(value, old, new):
    if isinstance(value, dict):
        return {key: replaced(inner, old, new) for key, inner in value.items()}
    if isinstance(value, list):
        return [replaced(inner, old, new) for inner in value]
    return value.replace(old, new) if isinstance(value, str) else value


def arrives(choice, text):
    """All that is made of values with this text everywhere."""
    values = merged(everywhere(chart.schema, text), {"podAnnotations": {"checksum/config": "own"}}, choice)
    rendered, notes = render(values)
    alone = values["mode"] == "sidecar" and "application" not in choice
    return documents(rendered) + ([pod_of(notes)] if alone else [])


MONITORED = {"metrics": {"podMonitor": {"enabled": True}}}
for mode, source in itertools.product(*CHOICES[:2]):
    choice = merged(mode, source, MONITORED)
    plain = arrives(choice, PLAIN)
    for text in ODD:
        try:
            if arrives(choice, text) != replaced(plain, PLAIN, text):
                wrong.append(f"helm {json.dumps(choice)}: the text {text!r} arrives as something else")
        except yaml.YAMLError as error:
            wrong.append(f"helm {json.dumps(choice)}: the text {text!r} breaks the YAML: {error}")

own = render({"config": 'a = "{{ .Release.Name }}"'}, name="mine")[0]
if 'a = "mine"' not in own:
    wrong.append("helm: the configuration of the values is not used")
if "pigello-gateway@sha256:0" not in render(EXTRAS)[0]:
    wrong.append("helm: the image's digest is not used")
for bad in [
    {"replicas": {"min": 0}}, {"unknown": 1}, {"mode": "both"}, {"source": "sealed"}, {"tlsSecret": ""},
    {"image": {"digest": "sha256:0"}}, {"networkPolicy": {"from": []}}, {"audit": {"size": "5"}},
    {"fullnameOverride": "a b"}, {"podDisruptionBudget": {"maxUnavailable": "0%"}},
    {"notices": {"webhook": {"allowFrom": ["192.0.2.1"]}}}, {"notices": {"webhook": {"port": 8443}}},
    {"notices": {"webhook": {"tokensSecret": ""}}},
    {"fleet": {"role": "leader"}}, {"fleet": {"secretName": ""}}, {"fleet": {"name": "a b"}},
    {"fleet": {"store": {"address": "rediss://a:6379"}}}, {"fleet": {"store": {"ports": []}}},
]:
    try:
        chart.validate_schema(bad)
        wrong.append(f"helm: the values {bad} should be refused")
    except helm_python.HelmValuesError:
        pass
for bad, why in [
    ({"replicas": {"min": 12}}, "more than replicas.max"),
    ({"replicas": {"min": 3, "max": 2}}, "more than replicas.max"),
    ({"mode": "sidecar"} | WEBHOOK, "notices.webhook needs mode: shared"),
    ({"fleet": {"enabled": True, "store": {"sentinels": ["s:26379"]}}}, "what the sentinels call the store"),
]:
    try:
        render(bad)
        wrong.append(f"helm: {bad} should be refused")
    except helm_python.HelmRenderError as error:
        if why not in str(error):
            wrong.append(f"helm: {bad}: {error}")
for good in [
    {"resources": {"claims": [{"name": "fast"}]}}, {"podDisruptionBudget": {"maxUnavailable": "25%"}},
    {"audit": {"size": "1.5Gi"}}, {"audit": {"size": "500G"}}, {"audit": {"storageClass": "-"}},
    {"terminationGracePeriodSeconds": 1000000}, {"podSecurityContext": {}}, {"fullnameOverride": "no"},
    {"metrics": {"podMonitor": {"enabled": True, "interval": "1m30s"}}},
]:
    validate(f"helm {good}", render(good)[0])
if 'storageClassName: ""' not in render({"audit": {"storageClass": "-"}})[0]:
    wrong.append("helm: the storage class `-` is not none")
for values in [None, EXTRAS, BARE, WEBHOOK, FLEET]:
    linted = helm_python.lint(chart_path, values, strict=True)
    # Of an icon that is missing lint says so, as information.
    found = [message for message in linted["messages"] if message["severity"] > 1]
    if linted["errors"] or found:
        wrong.append(f"helm lint: {linted}")

# The gateway's own judgement of each sample, with the variables that come over it.
program = os.environ.get("PIGELLO_GATEWAY")
if program:
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "gateway.toml"
        for (toml, variables), told in configurations.items():
            file.write_text(toml)
            checked = subprocess.run(
                [program, "check", "--config", file], capture_output=True, text=True, env=os.environ | dict(variables))
            if checked.returncode or "warning" in checked.stderr:
                wrong.append(f"helm {told}: {checked.stderr}")

# The manifests for those who do without Helm.
HEADS = {
    "shared": """\
# One gateway for several applications of a cluster, with mutual TLS. The certificate comes from the secret
# `pigello-gateway-tls` (tls.crt, tls.key, ca.crt), as cert-manager writes it. The gateway picks up a renewed
# certificate within seconds. `gateway.toml` below is the file in this directory.
#   kubectl create namespace pigello
#   kubectl -n pigello apply -f gateway.yaml
""",
    "webhook": """\
# The same as `shared`, with the event log and a listener for webhooks of Pigello. Besides `pigello-gateway-tls` it needs the
# secrets `pigello-gateway-webhook-tls` (tls.crt, tls.key) and `pigello-gateway-webhook-tokens`:
#   kubectl -n pigello create secret generic pigello-gateway-webhook-tokens --from-literal=tokens="$(openssl rand -hex 32)"
# Pigello sends its webhooks to https://HOST/hooks/TOKEN, where HOST leads to the Service `pigello-gateway-webhook`.
#   kubectl -n pigello apply -f gateway.yaml
""",
    "hub": """\
# The same as `shared`, as a hub of a fleet. Besides `pigello-gateway-tls` it needs the secret `pigello-gateway-fleet`, which
# all members have: the fleet's key, the password for the store, and the authority of its certificate.
#   (umask 077; openssl rand -base64 32 > key)
#   kubectl -n pigello create secret generic pigello-gateway-fleet --from-file=key --from-file=password --from-file=ca.crt
#   kubectl -n pigello apply -f gateway.yaml
""",
    "member": """\
# The same as `sidecar`, as a member of the fleet whose hub is in `../hub`. It needs the same secret
# `pigello-gateway-fleet` in its own namespace.
#   kubectl apply -f sidecar.yaml
""",
    "sidecar": """\
# An application with the gateway as a native sidecar (Kubernetes 1.29 or newer). It accepts calls before the
# application starts and stops after it, so the application's first and last calls are served. `gateway.toml` below is
# the file in this directory.
#   kubectl apply -f sidecar.yaml
""",
}
RELEASES = {
    "shared": ("gateway", "pigello-gateway"),
    "webhook": ("gateway", "pigello-gateway"),
    "hub": ("gateway", "pigello-gateway"),
    "member": ("sidecar", "billing"),
    "sidecar": ("sidecar", "billing"),
}
for kind, (file, release) in RELEASES.items():
    folder = HERE / "kubernetes" / kind
    values = yaml.safe_load((folder / "values.yaml").read_text()) | {"check": {"enabled": False}}
    text = render(values, release)[0].replace("\n    app.kubernetes.io/managed-by: Helm", "")
    text = re.sub(r"\n *app.kubernetes.io/managed-by: Helm", "", text)
    text = "\n---\n".join(part for part in text.split("\n---\n") if "helm.sh/hook: test" not in part)
    # The pods change with the ConfigMap by themselves.
    text = re.sub(r"\n *checksum/config: .*", "", text)
    text = re.sub(r" +$", "", text, flags=re.MULTILINE)
    maps = [manifest for manifest in documents(text) if manifest["kind"] == "ConfigMap"]
    head = f"{HEADS[kind]}# Made by `deploy/check.sh --write` of the chart with `values.yaml`: change those.\n---\n"
    for path, expected in [
        (folder / f"{file}.yaml", head + text.rstrip() + "\n"),
        (folder / "gateway.toml", maps[0]["data"]["gateway.toml"].rstrip() + "\n"),
    ]:
        if "--write" in sys.argv:
            path.write_text(expected)
        elif path.read_text() != expected:
            wrong.append(f"{path}: is not what the chart renders; run deploy/check.sh --write")
    validate(folder.name, (folder / f"{file}.yaml").read_text())

# The example of a store, which no chart makes.
validate("store", (HERE / "kubernetes/store/valkey.yaml").read_text())

# With `!override`, a list takes the place of the one before, and is not added to it.
yaml.SafeLoader.add_constructor("!override", lambda loader, node: loader.construct_sequence(node, deep=True))
compose = merged(*(yaml.safe_load((HERE / f"compose/{file}.yaml").read_text()) for file in ("compose", "fleet")))
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

print(f"deploy: {len(seen)} manifests fit their schemas" if not wrong else "")
sys.exit("\n".join(wrong) or 0)
