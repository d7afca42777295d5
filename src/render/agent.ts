import type { MeshSpec } from '../api/mesh.ts';
import { components, ports, runDirectory, systemNamespace } from '../api/names.ts';
import type { Manifest } from '../kube/objects.ts';
import { objectLabels, selectorLabels } from './ownership.ts';
import { env, fieldEnv, hostPathVolume, httpProbe, onEveryNode, resourcesOf, rootWith } from './pod-parts.ts';
import type { Release } from './release.ts';

const name = components.agent;

const defaultResources = { requests: { cpu: '10m', memory: '32Mi' }, limits: { memory: '256Mi' } };

/** Where the node's CNI folders are mounted in the container. */
const cniConfMount = '/host/etc/cni/net.d';
const cniBinMount = '/host/opt/cni/bin';

/**
 * What enrolling a pod takes: enter its network namespace (SYS_ADMIN) by way of another process's /proc entry
 * (SYS_PTRACE), write nftables rules there (NET_ADMIN), end connections older than the enrolment (NET_ADMIN), look at
 * raw traffic state (NET_RAW), and write into the CNI folders whoever owns them (DAC_OVERRIDE).
 */
const capabilities = ['SYS_ADMIN', 'NET_ADMIN', 'SYS_PTRACE', 'NET_RAW', 'DAC_OVERRIDE'];

/** The node agent: a DaemonSet on the host's network, replaced in place since it owns its node's port and sockets. */
export function renderAgent(spec: MeshSpec, release: Release, mesh: string): Manifest[] {
  return [
    {
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata: { name, namespace: systemNamespace, labels: objectLabels(name, mesh) },
      spec: {
        revisionHistoryLimit: 3,
        selector: { matchLabels: selectorLabels(name) },
        updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 0, maxUnavailable: '10%' } },
        template: {
          metadata: { labels: objectLabels(name, mesh) },
          spec: {
            ...onEveryNode,
            serviceAccountName: name,
            hostNetwork: true,
            hostPID: true,
            dnsPolicy: 'ClusterFirstWithHostNet',
            // After the Mesh an agent waits up to 10 s for the proxies, to leave nothing behind.
            terminationGracePeriodSeconds: 20,
            containers: [container(spec, release)],
            volumes: [
              hostPathVolume('run', runDirectory, 'DirectoryOrCreate'),
              hostPathVolume('cni-conf', spec.node.cniConfDir, 'Directory'),
              hostPathVolume('cni-bin', spec.node.cniBinDir, 'Directory'),
            ],
          },
        },
      },
    },
  ];
}

function container(spec: MeshSpec, release: Release) {
  return {
    name: 'agent',
    image: release.nodeImage,
    imagePullPolicy: 'IfNotPresent',
    command: ['/usr/local/bin/tulle-agent'],
    env: [
      fieldEnv('TULLE_NODE_NAME', 'spec.nodeName'),
      env('TULLE_RUN_DIR', runDirectory),
      env('TULLE_CNI_CONF_DIR', cniConfMount),
      env('TULLE_CNI_BIN_DIR', cniBinMount),
      env('TULLE_LOG', spec.node.logLevel),
      env('TULLE_VERSION', release.version),
    ],
    ports: [
      { name: 'http', containerPort: ports.agentHttp, hostPort: ports.agentHttp, protocol: 'TCP' },
      { name: 'metrics', containerPort: ports.agentMetrics, hostPort: ports.agentMetrics, protocol: 'TCP' },
    ],
    readinessProbe: httpProbe('/readyz', ports.agentHttp, 2),
    livenessProbe: httpProbe('/healthz', ports.agentHttp, 10, 6),
    resources: resourcesOf(spec.node.agentResources, defaultResources),
    // AppArmor's default profile keeps a container from looking into other processes' namespaces, which is this one's
    // work.
    securityContext: { ...rootWith(capabilities), appArmorProfile: { type: 'Unconfined' } },
    volumeMounts: [
      { name: 'run', mountPath: runDirectory },
      { name: 'cni-conf', mountPath: cniConfMount },
      { name: 'cni-bin', mountPath: cniBinMount },
    ],
  };
}
