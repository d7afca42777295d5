/**
 * Every name that more than one part of Tulle must spell alike: API group, labels, objects, ports, audiences. Those that
 * the data plane needs too are generated from here (`hack/generate/rust-names.ts`).
 */

export const apiGroup = 'mesh.tulle.dev';
export const apiVersionName = 'v1alpha1';
/** The `apiVersion` of the kinds we own. */
export const apiVersion = `${apiGroup}/${apiVersionName}`;

/** REST paths of the kinds we own, both cluster-scoped. */
export const meshesPath = `/apis/${apiVersion}/meshes`;
export const meshNodesPath = `/apis/${apiVersion}/meshnodes`;

/** The one Mesh that takes effect. */
export const meshName = 'default';
export const systemNamespace = 'tulle-system';
/** Namespaces whose pods are never enrolled. */
export const neverEnrolledNamespaces: readonly string[] = [systemNamespace, 'kube-system'];

/** Labels users write. */
export const labels = {
  /** On a Namespace or Pod (the Pod's wins): `ambient` or `none`. */
  mode: `${apiGroup}/mode`,
  /** On a Namespace, Service or Pod: a Gateway's name, or `none`. */
  useWaypoint: `${apiGroup}/use-waypoint`,
  useWaypointNamespace: `${apiGroup}/use-waypoint-namespace`,
  /** On a Gateway: `service`, `workload`, `all` or `none`. */
  waypointFor: `${apiGroup}/waypoint-for`,
} as const;

export const modes = { ambient: 'ambient', none: 'none' } as const;

/** Labels on what we own. */
export const ownedLabels = {
  managedBy: 'app.kubernetes.io/managed-by',
  name: 'app.kubernetes.io/name',
} as const;
export const managedBy = 'tulle';

export const annotations = {
  /** On the trust bundle ConfigMap: SHA-256, lower-case hex, of the exact bytes of `root-cert.pem`. */
  bundleSha256: `${apiGroup}/bundle-sha256`,
  /** On a Node that joined under the Mesh: the mesh has served on it, so it never gets the startup taint again. */
  served: `${apiGroup}/served`,
} as const;

/** On a Node that joins: pods wait for another, or for the mesh to serve here. */
export const startupTaint = { key: `${apiGroup}/not-ready`, effect: 'NoSchedule' } as const;

export const meshFinalizer = `${apiGroup}/mesh`;
/** On a MeshNode: it stays while a pod is there that its node captured. */
export const meshNodeFinalizer = `${apiGroup}/captured-pods`;

export const fieldManagers = {
  operator: 'tulle-operator',
  control: 'tulle-control',
  /** A replica of control that does not lead, and has to say that it signs nothing. */
  controlWarning: 'tulle-control-warning',
  agent: 'tulle-agent',
} as const;

/** Names of components; each is also the name of its ServiceAccount in `tulle-system`. */
export const components = {
  operator: 'tulle-operator',
  control: 'tulle-control',
  agent: 'tulle-agent',
  proxy: 'tulle-proxy',
} as const;

/** The Secret that holds the authority, in `tulle-system`. Read and written by tulle-control only. */
export const authoritySecretName = 'tulle-ca';

/** The ConfigMap in which replicas of control say of what their clients have been told, in `tulle-system`. */
export const peersToldName = 'tulle-peers-told';

export const trustBundle = {
  /** A ConfigMap: in `tulle-system` written by tulle-control, copied by the operator to every enrolled namespace. */
  configMapName: 'tulle-trust-bundle',
  key: 'root-cert.pem',
} as const;

/** Audiences of the tokens proxies call control with; `istio-ca` is what the engine Ztunnel mounts. */
export const tokenAudiences = { tulle: 'tulle-ca', istio: 'istio-ca' } as const;
/** Lifetime of projected tokens, seconds. */
export const tokenExpirySeconds = 3600;
/** Where a projected token is mounted. Read again for every call: kubelet rotates it. */
export const tokenPath = '/var/run/secrets/tulle/token';
/** Where the trust bundle is mounted in the proxy. */
export const trustBundlePath = `/etc/tulle/trust/${trustBundle.key}`;
/** On the node, and mounted at the same path in agent and proxy: their sockets. */
export const runDirectory = '/run/tulle';

/** TCP ports; the first three are in the network namespace of an enrolled pod. */
export const ports = {
  outbound: 15001,
  inboundPlaintext: 15006,
  hbone: 15008,
  controlGrpc: 15012,
  controlHttp: 8080,
  /** Control's and the operator's, over TLS. */
  metrics: 8443,
  /** Control's and proxies', for the namespaces that the Mesh names. */
  plaintextMetrics: 15014,
  proxyAdmin: 15000,
  proxyMetrics: 15020,
  proxyReady: 15021,
  agentHttp: 15019,
  agentMetrics: 15018,
} as const;

/** DNS names of control's own server certificate; clients verify one of them against the trust bundle. */
export const controlDnsNames: readonly string[] = [
  `${components.control}.${systemNamespace}.svc`,
  `${components.control}.${systemNamespace}.svc.cluster.local`,
];

export const defaultTrustDomain = 'cluster.local';
/** The `cluster_id` of the wire; the first segment of a workload's uid. */
export const clusterId = 'Kubernetes';
/** The `network` of the wire. */
export const network = '';

/** Keys the API server puts into `extra` of a reviewed token that is bound to a pod (KEP-4193). */
export const tokenExtra = {
  podName: 'authentication.kubernetes.io/pod-name',
  podUid: 'authentication.kubernetes.io/pod-uid',
  nodeName: 'authentication.kubernetes.io/node-name',
} as const;

/** The `username` a ServiceAccount authenticates with. */
export function serviceAccountUsername(namespace: string, serviceAccount: string): string {
  return `system:serviceaccount:${namespace}:${serviceAccount}`;
}
