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
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
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

{{/* Cluster-wide objects carry the namespace, so that two releases do not take each other's: whole, for what is cut may be the same. */}}
{{- define "picket.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "picket.fullname" .) -}}
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

{{/* Who keeps the webhook's certificate. */}}
{{- define "picket.certManager" -}}
{{- and .Values.injection.enabled (eq .Values.webhook.certificate.provider "cert-manager") -}}
{{- end }}

{{- define "picket.webhookCertificate" -}}
{{- printf "%s-webhook" (include "picket.fullname" .) -}}
{{- end }}

{{/* Where and with which rights a pod of the release runs. */}}
{{- define "picket.placement" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "picket.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* A volume of a StatefulSet is as it was made: what is there counts, whatever the values say since. */}}
{{- define "picket.claim" -}}
{{- $held := lookup "apps/v1" "StatefulSet" .Release.Namespace (include "picket.fullname" .) -}}
{{- $claims := dig "spec" "volumeClaimTemplates" list ($held | default dict) -}}
{{- if $claims -}}
{{- $spec := (first $claims).spec -}}
{{- dict "accessModes" $spec.accessModes "storageClass" (dig "storageClassName" "" $spec) "size" $spec.resources.requests.storage | toYaml -}}
{{- else -}}
{{- pick .Values.persistence "accessModes" "storageClass" "size" | toYaml -}}
{{- end -}}
{{- end }}

{{/* Several control planes have to be one mesh. */}}
{{- define "picket.several" -}}
{{- or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) -}}
{{- end }}

{{- define "picket.check" -}}
{{- if eq (include "picket.several" .) "true" -}}
{{- if not (or .Values.postgresql.existingSecret (hasPrefix "postgresql" (dig "database" "" .Values.settings))) -}}
{{- fail "several control planes share one database: set postgresql.existingSecret, or replicas to 1" -}}
{{- end -}}
{{- end -}}
{{- if .Values.spire.enabled -}}
{{- if eq (empty .Values.spire.csiDriver) (empty .Values.spire.hostPath) -}}
{{- fail "spire: one of csiDriver and hostPath says where the Workload API's socket comes from" -}}
{{- end -}}
{{- if .Values.ca.secret -}}
{{- fail "ca.secret: with spire.enabled there is no authority of Picket's own" -}}
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
{{- if and (eq (include "picket.certManager" .) "true") (not .Values.webhook.certificate.issuerRef.name) -}}
{{- fail "webhook.certificate.issuerRef.name is missing: the Issuer or ClusterIssuer of cert-manager that signs the webhook's certificate" -}}
{{- end -}}
{{- /* Labels of namespaces and pods ask for sidecars of one mesh, and each namespace has one ConfigMap with its roots. */ -}}
{{- $ours := printf "%s/%s" .Release.Namespace .Release.Name -}}
{{- range $held := dig "items" list (lookup "admissionregistration.k8s.io/v1" "MutatingWebhookConfiguration" "" "" | default dict) -}}
{{- $annotations := dig "metadata" "annotations" dict $held -}}
{{- $theirs := printf "%s/%s" (dig "meta.helm.sh/release-namespace" "" $annotations) (dig "meta.helm.sh/release-name" "" $annotations) -}}
{{- range dig "webhooks" list $held -}}
{{- if and (hasSuffix ".injection.picket.dev" .name) (ne $ours $theirs) -}}
{{- fail (printf "a cluster has one Picket, and the release %s is here: upgrade that one, or remove it first" $theirs) -}}
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

{{/* Jobs of an uninstall want rights, which somebody else gives where the chart gives none. */}}
{{- define "picket.hooks" -}}
{{- and .Values.uninstall.hooks .Values.rbac.create -}}
{{- end }}

{{/* Events and weight of a hook: gone once it did its work, there to be looked at where it did not, and made anew the next time. */}}
{{- define "picket.hook" -}}
helm.sh/hook: {{ first . }}
helm.sh/hook-weight: {{ last . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* A Job of `helm uninstall`, whose output Helm 3.18 and newer show. */}}
{{- define "picket.hookJob" }}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "picket.fullname" .root }}-{{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "picket.hookLabels" .root | nindent 4 }}
  annotations:
    {{- include "picket.hook" (list .event 0) | nindent 4 }}
    helm.sh/hook-output-log-policy: hook-succeeded,hook-failed
spec:
  backoffLimit: 3
  activeDeadlineSeconds: 240
  template:
    metadata:
      labels:
        {{- include "picket.hookLabels" .root | nindent 8 }}
    spec:
      restartPolicy: Never
      serviceAccountName: {{ include "picket.fullname" .root }}-uninstall
      enableServiceLinks: false
      {{- include "picket.placement" .root | nindent 6 }}
      containers:
        - name: {{ .name }}
          image: {{ include "picket.image" .root }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          command: [picket, cluster, {{ join ", " .command }}]
          resources:
            requests: {cpu: 50m, memory: 64Mi}
            limits: {memory: 256Mi}
          securityContext:
            {{- include "picket.restricted" .root | nindent 12 }}
{{- end }}

{{/* Those of the release, but by which no Service finds it. */}}
{{- define "picket.hookLabels" -}}
{{- $labels := include "picket.labels" . | fromYaml -}}
{{- set $labels "app.kubernetes.io/component" "uninstall" | toYaml -}}
{{- end }}
