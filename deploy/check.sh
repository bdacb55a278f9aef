#!/bin/sh
# Checks what is in this folder with the tools of the field: Kubernetes manifests and the rendered Helm
# chart against the API's schemas, the systemd units with systemd-analyze, the compose file and the alert
# rules for being well formed. Installs two Python packages into a folder of its own.
set -eu
cd "$(dirname "$0")"
tools=${TOOLS:-${TMPDIR:-/tmp}/pigello-gateway-deploy-check}
if [ ! -x "$tools/bin/kubernetes-validate" ]; then
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet kubernetes-validate==1.37.0 helm-python-sdk==0.2.2 pyyaml
fi
"$tools/bin/python" check.py

if command -v systemd-analyze >/dev/null; then
  units=$(mktemp -d)
  trap 'rm -rf "$units"' EXIT
  # The binary need not be installed for the unit to be checked.
  sed 's|/usr/bin/pigello-gateway|/bin/true|' systemd/pigello-gateway.service >"$units/pigello-gateway.service"
  cp systemd/pigello-gateway.socket "$units/"
  systemd-analyze verify "$units/pigello-gateway.service" "$units/pigello-gateway.socket"
  systemd-analyze security --offline=true --threshold=20 --no-pager "$units/pigello-gateway.service" | tail -n 1
fi
echo "deploy: all in order"
