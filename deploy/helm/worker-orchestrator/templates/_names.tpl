{{- define "worker-orchestrator.labels" -}}
app.kubernetes.io/name: worker-orchestrator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
