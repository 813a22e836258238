{{- define "sendlog.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "sendlog.selector" -}}
app.kubernetes.io/name: sendlog
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "sendlog.labels" -}}
{{ include "sendlog.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{/* The settings of a part: `root`, `part`, `settings` of its own, `files` of the Secret. */}}
{{- define "sendlog.environment" -}}
{{- $settings := merge (dict) .settings .root.Values.settings -}}
{{- if .root.Values.policy }}{{ $_ := set $settings "SENDLOG_POLICY_FILE" "/config/policy.toml" }}{{ end -}}
{{- if .root.Values.bounceRules }}{{ $_ := set $settings "SENDLOG_BOUNCE_RULES" "/config/bounces.toml" }}{{ end -}}
{{- range $variable, $key := merge (dict) .files .root.Values.secrets.files }}
{{- $_ := set $settings (ternary $variable (printf "%s_FILE" $variable) (hasSuffix "_FILE" $variable)) (printf "/secrets/%s" $key) }}
{{- end -}}
{{- range $variable, $value := $settings }}
- name: {{ $variable }}
  value: {{ $value | quote }}
{{- end -}}
{{- end -}}

{{/* A pod that runs `sendlog PART`: needs nothing of the node, and writes to /tmp alone. */}}
{{- define "sendlog.pod" -}}
metadata:
  labels:
    {{- include "sendlog.labels" . | nindent 4 }}
  annotations:
    checksum/config: {{ printf "%s%s" .root.Values.policy .root.Values.bounceRules | sha256sum }}
    {{- with .root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- if not .job }}
  serviceAccountName: {{ include "sendlog.name" .root }}
  {{- end }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  # What is under way is finished in three seconds, and given up after twenty.
  terminationGracePeriodSeconds: 30
  {{- if .job }}
  restartPolicy: OnFailure
  {{- end }}
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile: {type: RuntimeDefault}
  {{- if not .job }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "sendlog.selector" . | nindent 10 }}
  {{- end }}
  containers:
    - name: {{ .part }}
      image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: {{ .arguments | toJson }}
      env:
        {{- include "sendlog.environment" . | nindent 8 }}
      {{- if not .job }}
      ports:
        {{- with .port }}
        - {name: http, containerPort: {{ . }}}
        {{- end }}
        - {name: metrics, containerPort: 9101}
      livenessProbe:
        httpGet: {path: /livez, port: metrics}
        initialDelaySeconds: 30
        periodSeconds: 15
        timeoutSeconds: 10
      readinessProbe:
        httpGet: {path: /readyz, port: {{ ternary "http" "metrics" (gt (int .port) 0) }}}
        periodSeconds: 5
        timeoutSeconds: 10
      {{- end }}
      {{- with .resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        readOnlyRootFilesystem: true
        allowPrivilegeEscalation: false
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        - {name: secrets, mountPath: /secrets, readOnly: true}
        - {name: config, mountPath: /config, readOnly: true}
  volumes:
    - name: tmp
      emptyDir: {}
    - name: secrets
      secret:
        secretName: {{ .root.Values.secrets.name }}
        defaultMode: 288  # 0440
    - name: config
      configMap:
        name: {{ include "sendlog.name" .root }}
        optional: true  # the jobs run before it is there
{{- end -}}

{{- define "sendlog.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "sendlog.name" .root }}-{{ .part }}
  labels:
    {{- include "sendlog.labels" . | nindent 4 }}
spec:
  {{- if not .scaled }}
  replicas: {{ .replicas }}
  {{- end }}
  strategy:
    rollingUpdate: {maxUnavailable: {{ .unavailable }}, maxSurge: 1}
  selector:
    matchLabels:
      {{- include "sendlog.selector" . | nindent 6 }}
  template:
    {{- include "sendlog.pod" . | nindent 4 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "sendlog.name" .root }}-{{ .part }}
  labels:
    {{- include "sendlog.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "sendlog.selector" . | nindent 6 }}
{{- end -}}

{{- define "sendlog.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "sendlog.name" .root }}-{{ .part }}
  labels:
    {{- include "sendlog.labels" . | nindent 4 }}
spec:
  selector:
    {{- include "sendlog.selector" . | nindent 4 }}
  ports:
    - {name: http, port: 80, targetPort: http}
{{- if .ingress.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ include "sendlog.name" .root }}-{{ .part }}
  labels:
    {{- include "sendlog.labels" . | nindent 4 }}
  {{- with .ingress.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  rules:
    - host: {{ .ingress.host }}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: {{ include "sendlog.name" .root }}-{{ .part }}
                port: {name: http}
  {{- with .ingress.tlsSecret }}
  tls:
    - hosts: [{{ $.ingress.host }}]
      secretName: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}
