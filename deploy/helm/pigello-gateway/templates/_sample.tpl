{{/* The configuration if the values have none: a complete one, to begin with. */}}
{{- define "pigello-gateway.sample" -}}
{{- $name := include "pigello-gateway.name" . -}}
{{- $domain := printf "%s.%s" $name .Release.Namespace -}}
{{- if eq .Values.mode "sidecar" -}}
# The gateway beside one application. It listens on the pod's loopback, so other pods cannot reach it.

[runtime]
workers = 1                                        # a sidecar needs one; each has connections of its own

[[listeners]]
name = "sidecar"
address = "127.0.0.1:8080"
profile = "production"
caller = "billing"
{{- else -}}
# One gateway for several applications. A name in its client certificate identifies each caller.

[[listeners]]
name = "shared"
address = "0.0.0.0:8443"
profile = "production"
allowed_hosts = ["{{ $name }}", "{{ $domain }}", "{{ $domain }}.svc", "{{ $domain }}.svc.cluster.local"]

[listeners.tls]
certificate = "/etc/gateway-tls/tls.crt"
private_key = "/etc/gateway-tls/tls.key"
client_ca = "/etc/gateway-tls/ca.crt"
{{- end }}

[profiles.production]
upstream = "https://api.pigello.io"
credentials = "production"

[credentials.production]
{{- if eq .Values.source "vault" }}
source = "vault"
path = "pigello/production"
max_stale = "24h"

[vault]
address = "https://vault.vault.svc:8200"
{{- if .Values.vault.caConfigMap }}
ca_file = "/etc/vault-ca/ca.crt"
{{- end }}

[vault.auth]
method = "kubernetes"
role = "{{ include "pigello-gateway.serviceAccount" . }}"
jwt_file = "/var/run/secrets/vault/token"          # a token for the vault only
{{- else }}
source = "directory"                               # a Secret with one key a value
path = "/run/secrets/pigello"
{{- end }}

[admin]
address = "unix:/run/pigello-gateway/admin.sock"   # `kubectl exec … -- /pigello-gateway status` and its like

[metrics]
address = "0.0.0.0:9902"                           # Prometheus and the kubelet

[[callers]]
name = "billing"
{{- if eq .Values.mode "sidecar" }}
allow = ["subtenant.*", "tenant.get"]
{{- else }}
tls_names = ["spiffe://cluster.local/ns/billing/sa/billing"]
allow = ["subtenant.*", "tenant.*"]

{{- if .Values.notices.webhook.enabled }}

[notices]
event_log = "poll"                                 # a webhook reaches one replica, the log tells the others
{{- end }}

[timeouts]
drain_delay = "10s"                                # until every node knows that this pod leaves
{{- end }}

[telemetry]
log_format = "json"                                # one object in each line, for the collector of the node
{{- end }}
