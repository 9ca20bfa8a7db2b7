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
{{- define "qts.operatorImage" -}}
{{- $image := .Values.image }}{{ $at := print ":" $image.tag }}{{ with $image.digest }}{{ $at = print "@" . }}{{ end -}}
{{ include "qts.image" (list . (print $image.repository $at)) }}
{{- end }}
{{- /* OTEL_RESOURCE_ATTRIBUTES: pairs joined by commas, values percent-encoded */}}
{{- define "qts.attributes" -}}
{{- $pairs := list }}{{ range $key, $value := . }}{{ $pairs = append $pairs (printf "%s=%s" $key ($value | urlquery | replace "+" "%20")) }}{{ end -}}
{{ join "," $pairs }}
{{- end }}
