{{- define "reprise.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "reprise.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "reprise.labels" -}}
{{ include "reprise.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "reprise.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A value as text. YAML's whole numbers are floats to Helm, which writes large ones with an exponent. */}}
{{- define "reprise.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{/* One argument. Kubernetes makes one dollar of two, and puts variables in place of $(NAME). */}}
{{- define "reprise.flag" -}}
- {{ printf "--%s=%s" (index . 0) (include "reprise.text" (index . 1)) | replace "$" "$$" | quote }}
{{- end -}}

{{/* A map of flags as arguments. */}}
{{- define "reprise.flags" -}}
{{- range $name, $value := . }}
{{- if kindIs "slice" $value }}
{{- range $value }}
{{ include "reprise.flag" (list $name .) }}
{{- end }}
{{- else if kindIs "bool" $value }}
{{- if $value }}
- --{{ $name }}
{{- end }}
{{- else if not (kindIs "invalid" $value) }}
{{ include "reprise.flag" (list $name $value) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The port of an address, or of the first of several: ":8080" is 8080. */}}
{{- define "reprise.port" -}}
{{- $address := . -}}
{{- if kindIs "slice" . }}{{ $address = first . }}{{ end -}}
{{- regexFind "[0-9]+$" (toString $address) -}}
{{- end -}}

{{- define "reprise.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "reprise.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
