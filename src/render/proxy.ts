import type { MeshSpec } from '../api/mesh.ts';
import {
  clusterId,
  components,
  network,
  ports,
  runDirectory,
  systemNamespace,
  tokenPath,
  trustBundlePath,
} from '../api/names.ts';
import type { Manifest } from '../kube/objects.ts';
import { objectLabels, selectorLabels } from './ownership.ts';
import {
  type ContainerPort,
  env,
  fieldEnv,
  hostPathVolume,
  httpProbe,
  onEveryNode,
  plaintextMetrics,
  resourcesOf,
  rootWith,
  tokenVolume,
  trustBundleVolume,
} from './pod-parts.ts';
import type { Release } from './release.ts';

const name = components.proxy;

/** Those that answer everybody: with TLS, or with no more than yes or no. */
export const proxyPorts: readonly ContainerPort[] = [
  { name: 'metrics', containerPort: ports.proxyMetrics, protocol: 'TCP' },
  { name: 'ready', containerPort: ports.proxyReady, protocol: 'TCP' },
];

const controlHost = `${components.control}.${systemNamespace}.svc`;

const trustDirectory = trustBundlePath.slice(0, trustBundlePath.lastIndexOf('/'));
const tokenDirectory = tokenPath.slice(0, tokenPath.lastIndexOf('/'));

/** No memory limit: a proxy killed for memory takes the traffic of its node with it. */
const defaultResources = { requests: { cpu: '50m', memory: '64Mi' } };

/** Time for the proxy to end in order once its connections have drained, s. */
const afterDrainSeconds = 15;

/**
 * Opening sockets in the pods' network namespaces (SYS_ADMIN), with the pods' own addresses as source (NET_ADMIN), under
 * the user and group that the pods' rules know the proxy by (SETUID, SETGID), which nobody else is to read (CHOWN).
 */
const capabilities = ['SYS_ADMIN', 'NET_ADMIN', 'SETUID', 'SETGID', 'CHOWN'];

/**
 * The node proxy: a DaemonSet in which the new pod is ready before the old one goes, so that no node is ever without.
 */
export function renderProxy(
  spec: MeshSpec,
  release: Release,
  mesh: string,
  controlAddresses: readonly string[],
): Manifest[] {
  return [
    {
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata: { name, namespace: systemNamespace, labels: objectLabels(name, mesh) },
      spec: {
        revisionHistoryLimit: 3,
        selector: { matchLabels: selectorLabels(name) },
        updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
        template: {
          metadata: { labels: objectLabels(name, mesh) },
          spec: {
            ...onEveryNode,
            serviceAccountName: name,
            automountServiceAccountToken: false,
            // It finds control without the cluster's DNS, which on new nodes waits for the mesh.
            hostAliases: controlAddresses.map((ip) => ({ ip, hostnames: [controlHost] })),
            terminationGracePeriodSeconds: spec.node.drainSeconds + afterDrainSeconds,
            containers: [container(spec, release)],
            volumes: [hostPathVolume('run', runDirectory, 'DirectoryOrCreate'), trustBundleVolume, tokenVolume],
          },
        },
      },
    },
  ];
}

function container(spec: MeshSpec, release: Release) {
  const plain = plaintextMetrics(spec);
  const control = `https://${controlHost}:${ports.controlGrpc}`;
  return {
    name: 'proxy',
    image: release.nodeImage,
    imagePullPolicy: 'IfNotPresent',
    command: ['/usr/local/bin/tulle-proxy'],
    env: [
      fieldEnv('TULLE_NODE_NAME', 'spec.nodeName'),
      fieldEnv('TULLE_POD_NAME', 'metadata.name'),
      fieldEnv('TULLE_POD_NAMESPACE', 'metadata.namespace'),
      fieldEnv('TULLE_POD_IP', 'status.podIP'),
      env('TULLE_TRUST_DOMAIN', spec.trustDomain),
      env('TULLE_CLUSTER_ID', clusterId),
      env('TULLE_NETWORK', network),
      env('TULLE_CONTROL_ADDRESS', control),
      env('TULLE_TRUST_BUNDLE', trustBundlePath),
      env('TULLE_TOKEN', tokenPath),
      env('TULLE_RUN_DIR', runDirectory),
      env('TULLE_DRAIN_SECONDS', spec.node.drainSeconds),
      env('TULLE_ACCESS_LOG', spec.telemetry.accessLog),
      env('TULLE_LOG', spec.node.logLevel),
      ...plain.env,
    ],
    ports: [...proxyPorts, ...plain.ports],
    readinessProbe: httpProbe('/healthz/ready', ports.proxyReady, 2),
    resources: resourcesOf(spec.node.proxyResources, defaultResources),
    securityContext: rootWith(capabilities),
    volumeMounts: [
      { name: 'run', mountPath: runDirectory },
      { name: 'trust-bundle', mountPath: trustDirectory, readOnly: true },
      { name: 'token', mountPath: tokenDirectory, readOnly: true },
    ],
  };
}
