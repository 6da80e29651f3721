{{/*
What a chart of your own includes. Each takes the scope of this chart: `.Subcharts.reprise`.

  initContainers: {{- include "reprise.sidecar" .Subcharts.reprise | nindent 8 }}
  volumes: {{- include "reprise.sidecarVolumes" .Subcharts.reprise | nindent 8 }}
*/}}
{{- define "reprise.sidecar" -}}
- {{ include "reprise.recorder" (dict "scope" . "record" .Values.record) | nindent 2 | trim }}
  # Makes it a sidecar: started before the model server, stopped after it.
  restartPolicy: Always
{{- end -}}

{{- define "reprise.sidecarVolumes" -}}
{{- include "reprise.assertRoom" (dict "record" .Values.record "room" "capture.sizeLimit" "size" .Values.capture.sizeLimit) -}}
- name: reprise-capture
  emptyDir:
    sizeLimit: {{ .Values.capture.sizeLimit }}
{{ include "reprise.volumes" . }}
{{- end -}}

{{/* The container of a recorder. "record" has its flags, "scope" is that of the chart. */}}
{{- define "reprise.recorder" -}}
{{- $flags := .record -}}
{{- $listen := $flags.listen | required "record.listen is needed: the port is in it" -}}
{{- $probes := index $flags "probe-listen" | required "record.probe-listen is needed: the kubelet asks there" -}}
{{- with .scope -}}
{{- if .Values.keys.secret -}}
{{- $flags = mergeOverwrite (dict "hash-key-file" "/etc/reprise-keys/hash.key") (deepCopy $flags) -}}
{{- end -}}
name: recorder
image: {{ include "reprise.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - record
  {{- include "reprise.flags" $flags | trim | nindent 2 }}
{{- with .Values.env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: http
    containerPort: {{ include "reprise.port" $listen }}
  - name: probes
    containerPort: {{ include "reprise.port" $probes }}
startupProbe:
  httpGet:
    path: /livez
    port: probes
  periodSeconds: 1
  failureThreshold: 30
readinessProbe:
  httpGet:
    path: /readyz
    port: probes
  periodSeconds: 2
livenessProbe:
  httpGet:
    path: /livez
    port: probes
  periodSeconds: 10
  failureThreshold: 6
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  {{- include "reprise.containerSecurity" . | nindent 2 }}
volumeMounts:
  - name: reprise-capture
    mountPath: {{ $flags.dir }}
  - name: reprise-scratch
    mountPath: /tmp
  {{- if .Values.keys.secret }}
  - name: reprise-keys
    mountPath: /etc/reprise-keys
    readOnly: true
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* The volumes of a recorder but for its capture. */}}
{{- define "reprise.volumes" -}}
- name: reprise-scratch
  emptyDir:
    sizeLimit: 64Mi
{{- if .Values.keys.secret }}
- name: reprise-keys
  secret:
    secretName: {{ .Values.keys.secret }}
    defaultMode: 0440
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
