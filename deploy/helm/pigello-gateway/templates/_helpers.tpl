{{/* The name of everything in the release. */}}
{{- define "pigello-gateway.name" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{- define "pigello-gateway.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ include "pigello-gateway.name" . | quote }}
{{- end }}

{{- define "pigello-gateway.labels" -}}
{{ include "pigello-gateway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* The chart's annotations of the pods. The gateway reads a changed ConfigMap by itself. A changed pod is one that was
checked and rolled out. */}}
{{- define "pigello-gateway.podAnnotations" -}}
checksum/config: {{ include "pigello-gateway.config" . | sha256sum }}
{{- if not (or .Values.metrics.podMonitor.enabled .Values.metrics.tlsSecret) }}
prometheus.io/scrape: "true"
prometheus.io/port: "9902"
{{- end }}
{{- end }}

{{- define "pigello-gateway.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "pigello-gateway.name" .) "default" .Values.serviceAccount.create) -}}
{{- end }}

{{- define "pigello-gateway.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The secret that is mounted as a directory: one that is there, or the one that the ExternalSecret makes. */}}
{{- define "pigello-gateway.valuesSecret" -}}
{{- if eq .Values.source "externalSecret" -}}
{{ include "pigello-gateway.name" . }}-values
{{- else -}}
{{ .Values.directory.secretName }}
{{- end -}}
{{- end }}

{{/* The text of gateway.toml. */}}
{{- define "pigello-gateway.config" -}}
{{- if .Values.config -}}
{{ tpl .Values.config . }}
{{- else -}}
{{ include "pigello-gateway.sample" . }}
{{- end -}}
{{- end }}

{{- define "pigello-gateway.env" -}}
# Over the configuration: for `kubectl exec … -- /pigello-gateway status` and its like, and for Prometheus and
# the kubelet.
- { name: PIGELLO_GATEWAY_ADMIN__ADDRESS, value: "unix:/run/pigello-gateway/admin.sock" }
- { name: PIGELLO_GATEWAY_METRICS__ADDRESS, value: "0.0.0.0:9902" }
{{- if .Values.metrics.tlsSecret }}
- { name: PIGELLO_GATEWAY_METRICS__TLS__CERTIFICATE, value: /etc/metrics-tls/tls.crt }
- { name: PIGELLO_GATEWAY_METRICS__TLS__PRIVATE_KEY, value: /etc/metrics-tls/tls.key }
- { name: PIGELLO_GATEWAY_METRICS__TLS__CLIENT_CA, value: /etc/metrics-tls/ca.crt }
{{- end }}
{{- with .Values.notices.webhook }}
{{- if .enabled }}
# Pigello's webhooks.
- { name: PIGELLO_GATEWAY_NOTICES__WEBHOOK__LISTENER, value: "0.0.0.0:{{ int .port }}" }
- { name: PIGELLO_GATEWAY_NOTICES__WEBHOOK__CERTIFICATE, value: /etc/webhook-tls/tls.crt }
- { name: PIGELLO_GATEWAY_NOTICES__WEBHOOK__PRIVATE_KEY, value: /etc/webhook-tls/tls.key }
- { name: PIGELLO_GATEWAY_NOTICES__WEBHOOK__TOKENS_FILE, value: /etc/webhook-tokens/tokens }
{{- with .allowFrom }}
- { name: PIGELLO_GATEWAY_NOTICES__WEBHOOK__ALLOW_FROM, value: {{ join "," . | quote }} }
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.fleet.enabled }}
# The fleet.
- { name: PIGELLO_GATEWAY_FLEET__NAME, value: {{ .Values.fleet.name | quote }} }
- { name: PIGELLO_GATEWAY_FLEET__ROLE, value: {{ include "pigello-gateway.role" . }} }
- { name: PIGELLO_GATEWAY_FLEET__KEY__SOURCE, value: file }
- { name: PIGELLO_GATEWAY_FLEET__KEY__PATH, value: /etc/fleet/key }
{{- with .Values.fleet.store }}
{{- if .sentinels }}
- { name: PIGELLO_GATEWAY_FLEET__STORE__SENTINELS, value: {{ join "," .sentinels | quote }} }
- { name: PIGELLO_GATEWAY_FLEET__STORE__SERVICE, value: {{ required "fleet.store.service says what the sentinels call the store" .service | quote }} }
{{- else }}
- { name: PIGELLO_GATEWAY_FLEET__STORE__ADDRESS, value: {{ .address | quote }} }
{{- end }}
{{- with .username }}
- { name: PIGELLO_GATEWAY_FLEET__STORE__USERNAME, value: {{ . | quote }} }
- { name: PIGELLO_GATEWAY_FLEET__STORE__PASSWORD_FILE, value: /etc/fleet/password }
{{- end }}
{{- if .ca }}
- { name: PIGELLO_GATEWAY_FLEET__STORE__CA_FILE, value: /etc/fleet/ca.crt }
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What the gateway is in its fleet. */}}
{{- define "pigello-gateway.role" -}}
{{- .Values.fleet.role | default (ternary "hub" "member" (eq .Values.mode "shared")) -}}
{{- end }}

{{- define "pigello-gateway.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{/* The container, without `restartPolicy`, which makes a sidecar of it. */}}
{{- define "pigello-gateway.container" -}}
args: [serve]
ports:
  {{- if eq .Values.mode "shared" }}
  - { name: https, containerPort: 8443 }
  {{- end }}
  - { name: metrics, containerPort: 9902 }
  {{- if .Values.notices.webhook.enabled }}
  - { name: webhook, containerPort: {{ int .Values.notices.webhook.port }} }
  {{- end }}
env:
  {{- include "pigello-gateway.env" . | nindent 2 }}
securityContext:
  {{- include "pigello-gateway.securityContext" . | nindent 2 }}
{{- if .Values.metrics.tlsSecret }}
# The kubelet has no certificate to show.
startupProbe:
  exec: { command: [/pigello-gateway, health, --live] }
  periodSeconds: 1
  failureThreshold: 60
  timeoutSeconds: 2
readinessProbe:
  exec: { command: [/pigello-gateway, health] }
  periodSeconds: 5
  timeoutSeconds: 2
livenessProbe:
  exec: { command: [/pigello-gateway, health, --live] }
  periodSeconds: 10
  failureThreshold: 3
  timeoutSeconds: 2
{{- else }}
# It starts without its vault. A probe for readiness here would have it killed while the vault is away.
startupProbe:
  httpGet: { path: /livez, port: metrics }
  periodSeconds: 1
  failureThreshold: 60
  timeoutSeconds: 2
readinessProbe:
  httpGet: { path: /readyz, port: metrics }
  periodSeconds: 5
  timeoutSeconds: 2
livenessProbe:
  httpGet: { path: /livez, port: metrics }
  periodSeconds: 10
  failureThreshold: 3
  timeoutSeconds: 2
{{- end }}
resources:
  {{- with .Values.resources }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  {{- include "pigello-gateway.resources" . | nindent 2 }}
  {{- end }}
volumeMounts:
  - { name: gateway-config, mountPath: /etc/pigello-gateway, readOnly: true }
  - { name: gateway-audit, mountPath: /var/lib/pigello-gateway }
  - { name: gateway-run, mountPath: /run/pigello-gateway }
  {{- if eq .Values.mode "shared" }}
  - { name: gateway-tls, mountPath: /etc/gateway-tls, readOnly: true }
  {{- end }}
  {{- if eq .Values.source "vault" }}
  - { name: vault-token, mountPath: /var/run/secrets/vault, readOnly: true }
  {{- if .Values.vault.caConfigMap }}
  - { name: vault-ca, mountPath: /etc/vault-ca, readOnly: true }
  {{- end }}
  {{- else }}
  - { name: pigello, mountPath: /run/secrets/pigello, readOnly: true }
  {{- end }}
  {{- if .Values.metrics.tlsSecret }}
  - { name: metrics-tls, mountPath: /etc/metrics-tls, readOnly: true }
  {{- end }}
  {{- if .Values.notices.webhook.enabled }}
  - { name: webhook-tls, mountPath: /etc/webhook-tls, readOnly: true }
  - { name: webhook-tokens, mountPath: /etc/webhook-tokens, readOnly: true }
  {{- end }}
  {{- if .Values.fleet.enabled }}
  - { name: fleet, mountPath: /etc/fleet, readOnly: true }
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* A sidecar carries the calls of one application. */}}
{{- define "pigello-gateway.resources" -}}
{{- if eq .Values.mode "sidecar" -}}
limits: { memory: 256Mi }
requests: { cpu: 50m, memory: 64Mi }
{{- else -}}
limits: { memory: 512Mi }
requests: { cpu: 250m, memory: 128Mi }
{{- end -}}
{{- end }}

{{- define "pigello-gateway.volumes" -}}
- name: gateway-config
  configMap: { name: {{ include "pigello-gateway.name" . | quote }} }
- name: gateway-run
  emptyDir: { medium: Memory, sizeLimit: 1Mi }
{{- if eq .Values.mode "shared" }}
- name: gateway-tls
  secret: { secretName: {{ .Values.tlsSecret | quote }} }
{{- end }}
{{- if eq .Values.source "vault" }}
# A token that only the vault accepts. It is valid for an hour; the kubelet renews it.
- name: vault-token
  projected:
    sources:
      - serviceAccountToken: { audience: {{ .Values.vault.audience | quote }}, expirationSeconds: 3600, path: token }
{{- with .Values.vault.caConfigMap }}
- name: vault-ca
  configMap: { name: {{ . | quote }} }
{{- end }}
{{- else }}
- name: pigello
  secret: { secretName: {{ include "pigello-gateway.valuesSecret" . | quote }}, defaultMode: 0440 }
{{- end }}
{{- with .Values.metrics.tlsSecret }}
- name: metrics-tls
  secret: { secretName: {{ . | quote }} }
{{- end }}
{{- with .Values.notices.webhook }}
{{- if .enabled }}
- name: webhook-tls
  secret: { secretName: {{ .tlsSecret | quote }}, defaultMode: 0440 }
# The gateway refuses tokens that others than its group can read.
- name: webhook-tokens
  secret: { secretName: {{ .tokensSecret | quote }}, defaultMode: 0440 }
{{- end }}
{{- end }}
{{- if .Values.fleet.enabled }}
# The gateway refuses a key that others than its group can read.
- name: fleet
  secret: { secretName: {{ .Values.fleet.secretName | quote }}, defaultMode: 0440 }
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Each replica has a claim, because a trail has one writer. */}}
{{- define "pigello-gateway.claims" -}}
- metadata: { name: gateway-audit }
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .Values.audit.storageClass }}
    storageClassName: {{ ternary "" . (eq . "-") | quote }}
    {{- end }}
    resources: { requests: { storage: {{ .Values.audit.size | quote }} } }
{{- end }}

{{- define "pigello-gateway.scheduling" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
