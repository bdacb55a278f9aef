#!/bin/sh
# Checks what is in this folder with the tools of the field: Kubernetes manifests and the rendered Helm
# chart against the API's schemas, the systemd units with systemd-analyze, the alert rules with promtool,
# which also plays what they fire on, the compose file for being well formed. Puts what it needs (Python
# packages; on Debian, promtool out of its package) into a folder of its own.
set -eu
cd "$(dirname "$0")"
tools=${TOOLS:-${TMPDIR:-/tmp}/pigello-gateway-deploy-check}
if [ ! -x "$tools/bin/kubernetes-validate" ]; then
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet kubernetes-validate==1.37.0 helm-python-sdk==0.2.2 pyyaml
fi
"$tools/bin/python" check.py

promtool=$(command -v promtool || echo "$tools/prometheus/usr/bin/promtool")
if [ ! -x "$promtool" ] && command -v apt-get >/dev/null; then
  # Taken out of the package and not installed: that would start a server.
  mkdir -p "$tools/prometheus"
  (cd "$tools/prometheus" && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb .)
fi
if [ -x "$promtool" ]; then
  "$promtool" check rules prometheus/alerts.yaml
  "$promtool" test rules prometheus/alerts.test.yaml
else
  echo "deploy: SKIPPED the alert rules: there is no promtool"
fi

if command -v systemd-analyze >/dev/null; then
  units=$(mktemp -d)
  trap 'rm -rf "$units"' EXIT
  # The binary need not be installed for the unit to be checked, and systemd need not be 253 yet.
  sed 's|/usr/bin/pigello-gateway|/bin/true|' systemd/pigello-gateway.service >"$units/pigello-gateway.service"
  if [ "$(systemd-analyze --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')" -lt 253 ]; then
    sed -i 's|^Type=notify-reload$|Type=notify|' "$units/pigello-gateway.service"
  fi
  cp systemd/pigello-gateway.socket "$units/"
  found=$(systemd-analyze verify "$units/pigello-gateway.service" "$units/pigello-gateway.socket" 2>&1)
  if [ -n "$found" ]; then
    echo "$found"
    exit 1
  fi
  systemd-analyze security --offline=true --threshold=20 --no-pager "$units/pigello-gateway.service" | tail -n 1
fi
echo "deploy: all in order"
