import type { MeshSpec } from '../api/mesh.ts';
import { components, ports, systemNamespace } from '../api/names.ts';
import type { Manifest } from '../kube/objects.ts';
import { objectLabels, selectorLabels } from './ownership.ts';
import {
  type ContainerPort,
  env,
  fieldEnv,
  httpProbe,
  plaintextMetrics,
  resourcesOf,
  toleratesStartupTaint,
  unprivileged,
} from './pod-parts.ts';
import type { Release } from './release.ts';

const name = components.control;

/** Those that answer everybody: with TLS, or with no more than yes or no. */
export const controlPorts: readonly ContainerPort[] = [
  { name: 'grpc', containerPort: ports.controlGrpc, protocol: 'TCP' },
  { name: 'http', containerPort: ports.controlHttp, protocol: 'TCP' },
  { name: 'metrics', containerPort: ports.metrics, protocol: 'TCP' },
];

/** Sized for a few hundred pods on a laptop. */
const defaultResources = { requests: { cpu: '50m', memory: '128Mi' }, limits: { memory: '1Gi' } };

/** The control plane: Deployment, Service and PodDisruptionBudget. */
export function renderControl(spec: MeshSpec, release: Release, mesh: string): Manifest[] {
  const metadata = { name, namespace: systemNamespace, labels: objectLabels(name, mesh) };
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: {
        type: 'ClusterIP',
        selector: selectorLabels(name),
        ports: [
          { name: 'grpc', port: ports.controlGrpc, targetPort: 'grpc', protocol: 'TCP' },
          { name: 'metrics', port: ports.metrics, targetPort: 'metrics', protocol: 'TCP' },
        ],
      },
    },
    {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata,
      spec: { maxUnavailable: 1, selector: { matchLabels: selectorLabels(name) } },
    },
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata,
      spec: {
        replicas: spec.control.replicas,
        revisionHistoryLimit: 3,
        selector: { matchLabels: selectorLabels(name) },
        strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
        template: {
          metadata: { labels: objectLabels(name, mesh) },
          spec: {
            serviceAccountName: name,
            priorityClassName: 'system-cluster-critical',
            nodeSelector: { 'kubernetes.io/os': 'linux' },
            tolerations: [toleratesStartupTaint],
            topologySpreadConstraints: [
              {
                maxSkew: 1,
                topologyKey: 'kubernetes.io/hostname',
                whenUnsatisfiable: 'ScheduleAnyway',
                labelSelector: { matchLabels: selectorLabels(name) },
                // Pods of the version before count otherwise, and when they are gone both new ones may be on one node.
                matchLabelKeys: ['pod-template-hash'],
              },
            ],
            terminationGracePeriodSeconds: 30,
            containers: [container(spec, release)],
          },
        },
      },
    },
  ];
}

function container(spec: MeshSpec, release: Release) {
  const plain = plaintextMetrics(spec);
  return {
    name: 'control',
    image: release.image,
    imagePullPolicy: 'IfNotPresent',
    args: ['/app/control.js'],
    env: [
      env('TULLE_LOG', spec.control.logLevel),
      env('TULLE_TRUST_DOMAIN', spec.trustDomain),
      fieldEnv('TULLE_POD_NAME', 'metadata.name'),
      fieldEnv('TULLE_POD_NAMESPACE', 'metadata.namespace'),
      ...plain.env,
    ],
    ports: [...controlPorts, ...plain.ports],
    // A replica that may not sign still tells proxies of the mesh: taken from the Service, all of them would be deaf.
    readinessProbe: httpProbe('/readyz?exclude=issuance', ports.controlHttp, 2),
    livenessProbe: httpProbe('/healthz', ports.controlHttp, 10, 6),
    resources: resourcesOf(spec.control.resources, defaultResources),
    securityContext: unprivileged,
  };
}
