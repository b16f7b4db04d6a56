{{- define "picket.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{- define "picket.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "picket.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "picket.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "picket.selector" -}}
app.kubernetes.io/name: {{ include "picket.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: controlplane
{{- end }}

{{- define "picket.labels" -}}
{{ include "picket.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "picket.image" -}}
{{- $image := printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- if .Values.image.digest -}}{{ printf "%s@%s" .Values.image.repository .Values.image.digest }}{{- else -}}{{ $image }}{{- end -}}
{{- end }}

{{- define "picket.account" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "picket.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* Cluster-wide objects carry the namespace, so that two releases do not take each other's. */}}
{{- define "picket.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "picket.fullname" .) | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "picket.host" -}}
{{- printf "%s.%s.svc" (include "picket.fullname" .) .Release.Namespace -}}
{{- end }}

{{- define "picket.native" -}}
{{- if eq (toString .Values.injection.native) "auto" -}}
{{- semverCompare ">=1.29-0" .Capabilities.KubeVersion.Version -}}
{{- else -}}
{{- .Values.injection.native -}}
{{- end -}}
{{- end }}

{{- define "picket.authority" -}}
{{- default (printf "%s-ca" (include "picket.fullname" .)) .Values.ca.secret -}}
{{- end }}

{{/* Several control planes have to be one mesh. */}}
{{- define "picket.several" -}}
{{- or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) -}}
{{- end }}

{{- define "picket.check" -}}
{{- if eq (include "picket.several" .) "true" -}}
{{- if not .Values.postgresql.existingSecret -}}
{{- fail "several control planes share one database: set postgresql.existingSecret, or replicas to 1" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "ingress.host is missing" -}}
{{- end -}}
{{- /* Who comes from another namespace is kept out otherwise. */ -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.apiFrom) -}}
{{- range $asking, $whose := dict "ingress" "the ingress controller's" "metrics.serviceMonitor" "Prometheus'" -}}
{{- if ternary $.Values.ingress.enabled $.Values.metrics.serviceMonitor.enabled (eq $asking "ingress") -}}
{{- fail (printf "networkPolicy.apiFrom is empty, so that %s would reach nothing: name %s namespace there" $asking $whose) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- end }}

{{- define "picket.probe" -}}
httpGet:
  path: {{ . }}
  port: api
  scheme: HTTPS
{{- end }}
