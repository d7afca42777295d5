import type { MeshSpec } from '../api/mesh.ts';
import { ports, startupTaint, tokenAudiences, tokenExpirySeconds, trustBundle } from '../api/names.ts';
import type { KubeObject } from '../kube/objects.ts';

/** For processes that need no power over the machine. */
export const unprivileged = {
  runAsNonRoot: true,
  runAsUser: 65532,
  runAsGroup: 65532,
  readOnlyRootFilesystem: true,
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  seccompProfile: { type: 'RuntimeDefault' },
} as const;

/**
 * Root with these capabilities and no others. The API server refuses `allowPrivilegeEscalation: false` beside
 * CAP_SYS_ADMIN, so it stays unset; no program in the image has file capabilities or a set-uid bit to escalate by.
 */
export function rootWith(capabilities: readonly string[]) {
  return {
    runAsUser: 0,
    runAsGroup: 0,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'], add: [...capabilities] },
    seccompProfile: { type: 'RuntimeDefault' },
  };
}

/** The label of a Node that says which operating system it runs. */
export const osLabel = 'kubernetes.io/os';

/** Runs on every node with Linux, whatever its taints: a pod there may be in the mesh. */
export const onEveryNode = {
  priorityClassName: 'system-node-critical',
  tolerations: [{ operator: 'Exists' }],
  nodeSelector: { [osLabel]: 'linux' },
} as const;

/** For what a node needs to come into service: on a cluster of new nodes only, there is no other place for it. */
export const toleratesStartupTaint = {
  key: startupTaint.key,
  operator: 'Exists',
  effect: startupTaint.effect,
} as const;

/** Whether what runs `onEveryNode` is meant to run on this Node. */
export function isForAgents({ metadata }: KubeObject): boolean {
  return Object.entries(onEveryNode.nodeSelector).every(([label, value]) => metadata.labels?.[label] === value);
}

export interface EnvVar {
  name: string;
  value?: string;
  valueFrom?: { fieldRef: { fieldPath: string } };
}

export function env(name: string, value: string | number): EnvVar {
  return { name, value: String(value) };
}

/** A field of the pod itself, for example `spec.nodeName`. */
export function fieldEnv(name: string, fieldPath: string): EnvVar {
  return { name, valueFrom: { fieldRef: { fieldPath } } };
}

export interface ContainerPort {
  readonly name: string;
  readonly containerPort: number;
  readonly protocol: 'TCP';
}

/** What a container is told, and says of itself, where the Mesh wants metrics without TLS. */
export function plaintextMetrics({ telemetry }: MeshSpec): { env: EnvVar[]; ports: ContainerPort[] } {
  if (telemetry.plaintextMetricsFrom.length === 0) return { env: [], ports: [] };
  const containerPort = ports.plaintextMetrics;
  return {
    env: [env('TULLE_PLAINTEXT_METRICS_PORT', containerPort)],
    ports: [{ name: 'plain-metrics', containerPort, protocol: 'TCP' }],
  };
}

export function httpProbe(path: string, port: number, periodSeconds: number, failureThreshold = 3) {
  return { httpGet: { path, port }, periodSeconds, failureThreshold, timeoutSeconds: 2 };
}

/** A token only the certificate service accepts. */
export const tokenVolume = {
  name: 'token',
  projected: {
    sources: [
      {
        serviceAccountToken: { path: 'token', audience: tokenAudiences.tulle, expirationSeconds: tokenExpirySeconds },
      },
    ],
  },
} as const;

/** Required, not optional: kubelet holds the pod back until control has written the bundle. */
export const trustBundleVolume = {
  name: 'trust-bundle',
  configMap: { name: trustBundle.configMapName, items: [{ key: trustBundle.key, path: trustBundle.key }] },
} as const;

export function hostPathVolume(name: string, path: string, type: 'Directory' | 'DirectoryOrCreate') {
  return { name, hostPath: { path, type } };
}

type Resources = NonNullable<MeshSpec['control']['resources']>;

/** What the Mesh asks for, else our default; quantities as strings, the form the API server keeps. */
export function resourcesOf(asked: Resources | undefined, otherwise: Resources) {
  const { requests, limits } = asked ?? otherwise;
  return {
    ...(requests === undefined ? {} : { requests: strings(requests) }),
    ...(limits === undefined ? {} : { limits: strings(limits) }),
  };
}

function strings(quantities: object): Record<string, string> {
  return Object.fromEntries(
    Object.entries(quantities).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])),
  );
}
