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

{{/* A size as a number of bytes: one of Reprise (8GiB, 1.5 GB) or a quantity of Kubernetes (8Gi, 500M). */}}
{{- define "reprise.bytes" -}}
{{- $text := include "reprise.text" . | trim -}}
{{- $unit := regexFind "[A-Za-z]*$" $text | lower | trimSuffix "b" -}}
{{- $factors := dict "" 1 "k" 1e3 "m" 1e6 "g" 1e9 "t" 1e12 "ki" 1024 "mi" 1048576 "gi" 1073741824 "ti" 1099511627776 -}}
{{- mulf (regexFind "^[0-9.]+" $text | float64) (get $factors $unit) -}}
{{- end -}}

{{/* Fails where a capture would fill its volume. "room" is the value with the volume's size. */}}
{{- define "reprise.assertRoom" -}}
{{- $most := index .record "max-disk" -}}
{{- if and $most (ge (include "reprise.bytes" $most | float64) (include "reprise.bytes" .size | float64)) -}}
{{- printf "max-disk %s is not below %s %s: the capture would fill its volume" (include "reprise.text" $most) .room .size | fail -}}
{{- end -}}
{{- end -}}

{{/* The labels of recorders of their own, as a selector. */}}
{{- define "reprise.recorders" -}}
{{ include "reprise.selector" . }}
app.kubernetes.io/component: recorder
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
