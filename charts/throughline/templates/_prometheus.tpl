{{/* What Prometheus asks of the operator, as files; empty where nothing is set. */}}
{{- define "throughline.prometheus.folder" -}}/etc/throughline/prometheus{{- end }}

{{- define "throughline.prometheus.check" -}}
{{- with .Values.prometheus }}
{{- if and .bearerToken.secretName .bearerToken.serviceAccount }}
{{- fail "prometheus.bearerToken: set secretName or serviceAccount, not both" }}
{{- end }}
{{- if and .basicAuth.secretName (or .bearerToken.secretName .bearerToken.serviceAccount) }}
{{- fail "prometheus: set bearerToken or basicAuth, not both" }}
{{- end }}
{{- if and .ca.secretName .ca.configMapName }}
{{- fail "prometheus.ca: set secretName or configMapName, not both" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "throughline.prometheus.pairs" -}}
{{- $pairs := list }}
{{- range $name, $value := . }}{{- $pairs = append $pairs (printf "%s=%s" $name $value) }}{{- end }}
{{- join "," $pairs }}
{{- end }}

{{- define "throughline.prometheus.env" -}}
{{- include "throughline.prometheus.check" . }}
{{- $folder := include "throughline.prometheus.folder" . }}
{{- with .Values.prometheus }}
{{- if or .bearerToken.secretName .bearerToken.serviceAccount }}
- name: THROUGHLINE_PROMETHEUS_BEARER_TOKEN_FILE
  value: {{ $folder }}/token
{{- end }}
{{- if .basicAuth.secretName }}
- name: THROUGHLINE_PROMETHEUS_USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ .basicAuth.secretName }}
      key: username
- name: THROUGHLINE_PROMETHEUS_PASSWORD_FILE
  value: {{ $folder }}/password
{{- end }}
{{- if or .ca.secretName .ca.configMapName }}
- name: THROUGHLINE_PROMETHEUS_CA_FILE
  value: {{ $folder }}/ca.crt
{{- end }}
{{- if .clientCertificate.secretName }}
- name: THROUGHLINE_PROMETHEUS_CLIENT_CERTIFICATE_FILE
  value: {{ $folder }}/tls.crt
- name: THROUGHLINE_PROMETHEUS_CLIENT_KEY_FILE
  value: {{ $folder }}/tls.key
{{- end }}
{{- with .headers }}
- name: THROUGHLINE_PROMETHEUS_HEADERS
  value: {{ include "throughline.prometheus.pairs" . | quote }}
{{- end }}
{{- if .headersSecretName }}
- name: THROUGHLINE_PROMETHEUS_HEADERS_DIRECTORY
  value: {{ $folder }}-headers
{{- end }}
{{- with .parameters }}
- name: THROUGHLINE_PROMETHEUS_PARAMETERS
  value: {{ include "throughline.prometheus.pairs" . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "throughline.prometheus.sources" -}}
{{- with .Values.prometheus }}
{{- with .bearerToken }}
{{- if .secretName }}
- secret:
    name: {{ .secretName }}
    items:
      - key: {{ .key }}
        path: token
{{- else if .serviceAccount }}
- serviceAccountToken:
    path: token
    expirationSeconds: 3600
    {{- with .audience }}
    audience: {{ . }}
    {{- end }}
{{- end }}
{{- end }}
{{- if .basicAuth.secretName }}
- secret:
    name: {{ .basicAuth.secretName }}
    items:
      - key: password
        path: password
{{- end }}
{{- with .ca }}
{{- if or .secretName .configMapName }}
- {{ ternary "secret" "configMap" (not (empty .secretName)) }}:
    name: {{ .secretName | default .configMapName }}
    items:
      - key: {{ .key }}
        path: ca.crt
{{- end }}
{{- end }}
{{- if .clientCertificate.secretName }}
- secret:
    name: {{ .clientCertificate.secretName }}
    items:
      - key: tls.crt
        path: tls.crt
      - key: tls.key
        path: tls.key
{{- end }}
{{- end }}
{{- end }}

{{- define "throughline.prometheus.mounts" -}}
{{- $folder := include "throughline.prometheus.folder" . }}
{{- if include "throughline.prometheus.sources" . | trim }}
- name: prometheus
  mountPath: {{ $folder }}
  readOnly: true
{{- end }}
{{- if .Values.prometheus.headersSecretName }}
- name: prometheus-headers
  mountPath: {{ $folder }}-headers
  readOnly: true
{{- end }}
{{- end }}

{{- define "throughline.prometheus.volumes" -}}
{{- $sources := include "throughline.prometheus.sources" . | trim }}
{{- if $sources }}
- name: prometheus
  projected:
    defaultMode: 0440
    sources:
      {{- $sources | nindent 6 }}
{{- end }}
{{- if .Values.prometheus.headersSecretName }}
- name: prometheus-headers
  secret:
    secretName: {{ .Values.prometheus.headersSecretName }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{/* The port of settings.prometheusUrl, and those of its pods. */}}
{{- define "throughline.prometheus.ports" -}}
{{- $url := urlParse .Values.settings.prometheusUrl }}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) }}
{{- $ports := list $port }}
{{- range .Values.networkPolicy.prometheusPorts }}{{- $ports = append $ports (toString .) }}{{- end }}
{{- range $ports | uniq }}
- port: {{ . }}
  protocol: TCP
{{- end }}
{{- end }}
