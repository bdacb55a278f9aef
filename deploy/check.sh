#!/bin/sh
# Checks this directory: Kubernetes manifests and the rendered Helm chart against the API's schemas, the systemd
# units with systemd-analyze, the alert rules and their tests with promtool, and the syntax of the compose file.
# Installs what it needs (Python packages; on Debian, promtool from its package) into its own directory.
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
  # Unpacked, not installed: an installation would start a server.
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
  # The check works without the binary, and with a systemd older than 253.
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
