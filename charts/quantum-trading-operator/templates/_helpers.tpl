{{- define "qts.name" -}}
{{ if eq .Release.Name .Chart.Name }}{{ .Chart.Name }}{{ else if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}
{{- define "qts.selector" -}}
app.kubernetes.io/name: quantum-trading-operator
{{- if ne .Release.Name .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- end }}
{{- define "qts.labels" -}}
{{ include "qts.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}
{{- /* a reference from the one registry, unless it names a registry itself */}}
{{- define "qts.image" -}}
{{- $root := index . 0 }}{{ $reference := index . 1 }}{{ $first := first (splitList "/" $reference) -}}
{{ if and (contains "/" $reference) (or (regexMatch "[.:]" $first) (eq $first "localhost")) }}{{ $reference }}{{ else }}{{ printf "%s/%s" $root.Values.registry $reference }}{{ end }}
{{- end }}
{{- /* the image of `image` values, by digest where there is one */}}
{{- define "qts.pulledImage" -}}
{{- $image := index . 1 }}{{ if not (or $image.tag $image.digest) }}{{ fail (printf "image %s: give a tag or a digest" $image.repository) }}{{ end }}{{ $at := print ":" $image.tag }}{{ with $image.digest }}{{ $at = print "@" . }}{{ end -}}
{{ include "qts.image" (list (index . 0) (print $image.repository $at)) }}
{{- end }}
{{- /* OTEL_RESOURCE_ATTRIBUTES: pairs joined by commas, values percent-encoded */}}
{{- define "qts.attributes" -}}
{{- $pairs := list }}{{ range $key, $value := . }}{{ $pairs = append $pairs (printf "%s=%s" $key ($value | urlquery | replace "+" "%20")) }}{{ end -}}
{{ join "," $pairs }}
{{- end }}
{{- /* labels as key=value, joined by commas, neither of which a label may hold */}}
{{- define "qts.pairs" -}}
{{- $pairs := list }}{{ range $key, $value := . }}{{ $pairs = append $pairs (printf "%s=%s" $key $value) }}{{ end -}}
{{ join "," $pairs }}
{{- end }}
{{- /* what all pods of the chart have: the restricted standard, and where they may run */}}
{{- define "qts.pod" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- define "qts.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
{{- define "qts.collectorName" -}}
{{ include "qts.name" . | trunc 53 | trimSuffix "-" }}-collector
{{- end }}
{{- /* another name than the operator's: who may talk to the operator's pods, or is let in as one of them, is told by it */}}
{{- define "qts.collectorSelector" -}}
app.kubernetes.io/name: quantum-trading-collector
{{- if ne .Release.Name .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- end }}
{{- define "qts.collectorURL" -}}
http://{{ include "qts.collectorName" . }}.{{ .Release.Namespace }}:4318
{{- end }}
{{- /* where the operator's own spans go; nothing: nowhere */}}
{{- define "qts.otlpEndpoint" -}}
{{ .Values.telemetry.otlpEndpoint | default (ternary (include "qts.collectorURL" .) "" .Values.collector.enabled) }}
{{- end }}
{{- /* the port of host:port, or of a URL; nothing: it has none */}}
{{- define "qts.port" -}}
{{- $host := first (splitList "/" (regexReplaceAll "^[a-z]+:/+" . "")) }}
{{- $usual := ternary "443" (ternary "80" "" (hasPrefix "http:" .)) (hasPrefix "https:" .) -}}
{{ regexFind ":[0-9]+$" $host | trimPrefix ":" | default $usual }}
{{- end }}
