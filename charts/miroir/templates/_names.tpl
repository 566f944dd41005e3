{{- define "miroir.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "miroir.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "miroir.labels" -}}
{{ include "miroir.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "miroir.image" -}}
{{- $image := .Values.image -}}
{{- $repository := required "image.repository is not set: name the repository that you pushed the image of `make image` to" $image.repository -}}
{{- /* The schema says of a pattern only what it is. */ -}}
{{- if not (regexMatch `^((\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9.-]+)(:[0-9]+)?/)?[a-z0-9._/-]+$` $repository) -}}
{{- fail (printf "image.repository is %q: write it without scheme, tag and digest; image.tag and image.digest are for those" $repository) -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository ($image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "miroir.swarmKeySecret" -}}
{{- .Values.swarmKey.existingSecret | default (printf "%s-swarm-key" (include "miroir.fullname" .)) -}}
{{- end -}}

{{/* Where the webhook's certificate is, when somebody else sees to it; empty otherwise. */}}
{{- define "miroir.tlsSecret" -}}
{{- $webhook := .Values.webhook -}}
{{- if not $webhook.certManager.enabled -}}
{{- $webhook.tlsSecret -}}
{{- else if $webhook.tlsSecret -}}
{{- fail "webhook.tlsSecret and webhook.certManager.enabled: only one can see to the certificate" -}}
{{- else -}}
{{- printf "%s-webhook-tls" (include "miroir.fullname" .) -}}
{{- end -}}
{{- end -}}

{{/* cert-manager's Certificates of the release, each with a Secret of the same name that cert-manager leaves. */}}
{{- define "miroir.certificates" -}}
{{- with .Values.webhook.certManager -}}
{{- if .enabled -}}
{{- $name := include "miroir.tlsSecret" $ -}}
{{- ternary (list $name) (list $name (printf "%s-authority" $name)) (not (empty .issuerRef)) | join "," -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "miroir.podTokenKeys" -}}
{{- printf "%s-pod-token-keys" (include "miroir.fullname" .) -}}
{{- end -}}

{{/* What every container of Miroir may do: nothing but its work. */}}
{{- define "miroir.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* For `miroir configure` and `miroir cleanup`, which must agree. */}}
{{- define "miroir.configureCommand" -}}
{{- range .Values.registries -}}
{{- if not (regexMatch `^[^/=,\s]+(=https?://[^,\s?#@]+)?$` .) -}}
{{- fail (printf "registries has %q: write each as names of images begin, as docker.io, or with its URL, as registry.example=http://10.0.0.1:5000" .) -}}
{{- end -}}
{{- end -}}
- /usr/local/bin/miroir
- configure
- --certs-dir={{ .Values.containerd.certsDir }}
- --mirror-address=127.0.0.1:{{ .Values.mirror.ports.registry }}
- --tags={{ .Values.tags }}
{{- with .Values.registries }}
- --registries={{ join "," . }}
{{- end }}
{{- end -}}
