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
