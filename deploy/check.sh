#!/bin/sh
# Checks this directory: everything that the Helm chart renders and the Kubernetes manifests against the API's schemas,
# the systemd units with systemd-analyze, the alert rules and their tests with promtool, and the compose file.
#   deploy/check.sh            with PIGELLO_GATEWAY=PROGRAM also the configuration in what is rendered
#   deploy/check.sh --write    writes the manifests again, which are what the chart renders
# Installs what it needs (Python packages; on Debian, promtool from its package) into its own directory. What cannot be
# checked is skipped, loudly; with PIGELLO_TEST_REQUIRE_TOOLS=1 that is an error.
set -eu
cd "$(dirname "$0")"
tools=${TOOLS:-${TMPDIR:-/tmp}/pigello-gateway-deploy-check}
if ! cmp -s ../.ci/deploy.txt "$tools/installed"; then
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --require-hashes --no-deps -r ../.ci/deploy.txt
  cp ../.ci/deploy.txt "$tools/installed"
fi
"$tools/bin/python" check.py "$@"

skip() {
  echo "deploy: SKIPPED $1" >&2
  [ "${PIGELLO_TEST_REQUIRE_TOOLS:-}" != 1 ] || exit 1
}

promtool=$(command -v promtool || echo "$tools/prometheus/usr/bin/promtool")
if [ ! -x "$promtool" ] && command -v apt-get >/dev/null; then
  # Unpacked, not installed: an installation would start a server.
  mkdir -p "$tools/prometheus"
  (cd "$tools/prometheus" && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb .) || true
fi
if [ -x "$promtool" ]; then
  "$promtool" check rules prometheus/alerts.yaml
  "$promtool" test rules prometheus/alerts.test.yaml
else
  skip "the alert rules: there is no promtool"
fi

if command -v systemd-analyze >/dev/null; then
  units=$(mktemp -d)
  trap 'rm -rf "$units"' EXIT
  # The check works without the binary.
  sed 's|/usr/bin/pigello-gateway|/bin/true|' systemd/pigello-gateway.service >"$units/pigello-gateway.service"
  cp systemd/pigello-gateway.socket "$units/"
  found=$(systemd-analyze verify "$units/pigello-gateway.service" "$units/pigello-gateway.socket" 2>&1)
  if [ -n "$found" ]; then
    echo "$found"
    exit 1
  fi
  systemd-analyze security --offline=true --threshold=20 --no-pager "$units/pigello-gateway.service" | tail -n 1
else
  skip "the systemd units: there is no systemd-analyze"
fi
echo "deploy: all in order"
