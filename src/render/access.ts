import { apiGroup, components, systemNamespace } from '../api/names.ts';
import type { Manifest } from '../kube/objects.ts';
import { objectLabels } from './ownership.ts';

/** A rule of RBAC. */
export type AccessRule =
  | {
      apiGroups: readonly string[];
      resources: readonly string[];
      verbs: readonly string[];
      resourceNames?: readonly string[];
    }
  | { nonResourceURLs: readonly string[]; verbs: readonly string[] };

/**
 * What control does across the cluster: builds its model, reviews the tokens of callers, reports the authority. Its
 * right to the authority's Secret is not here but in config/rbac: the operator cannot grant what it does not hold,
 * and must not hold that one.
 */
export const controlRules: readonly AccessRule[] = [
  { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list', 'watch'] },
  { apiGroups: [''], resources: ['services', 'nodes', 'namespaces'], verbs: ['list', 'watch'] },
  { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
  { apiGroups: [apiGroup], resources: ['meshes', 'meshnodes'], verbs: ['list', 'watch'] },
  { apiGroups: [apiGroup], resources: ['meshes/status'], verbs: ['patch'] },
  // On the Mesh, when nothing can be signed.
  { apiGroups: ['events.k8s.io'], resources: ['events'], verbs: ['create', 'patch'] },
  { apiGroups: ['authentication.k8s.io'], resources: ['tokenreviews'], verbs: ['create'] },
  // Who may read metrics.
  { apiGroups: ['authorization.k8s.io'], resources: ['subjectaccessreviews'], verbs: ['create'] },
  // The keys that sign tokens: what they did not sign is not reviewed.
  { nonResourceURLs: ['/openid/v1/jwks'], verbs: ['get'] },
];

/**
 * What the agent does: follows its node's pods, their namespaces and the Mesh, and reports to its own MeshNode (see
 * admission.ts).
 */
export const agentRules: readonly AccessRule[] = [
  { apiGroups: [''], resources: ['pods', 'namespaces'], verbs: ['get', 'list', 'watch'] },
  { apiGroups: [apiGroup], resources: ['meshes'], verbs: ['list', 'watch'] },
  // At its start it asks once for what the agent before it reported.
  { apiGroups: [apiGroup], resources: ['meshnodes'], verbs: ['get', 'list', 'watch'] },
  { apiGroups: [apiGroup], resources: ['meshnodes/status'], verbs: ['patch'] },
  // Who may read its metrics and those of its node's proxies.
  { apiGroups: ['authentication.k8s.io'], resources: ['tokenreviews'], verbs: ['create'] },
  { apiGroups: ['authorization.k8s.io'], resources: ['subjectaccessreviews'], verbs: ['create'] },
];

/** Service accounts, and what control and agent may. The proxy may nothing: it only shows its token to control. */
export function renderAccess(mesh: string): Manifest[] {
  return [
    ...[components.control, components.agent, components.proxy].map((name) => serviceAccount(name, mesh)),
    ...clusterRole(components.control, controlRules, mesh),
    ...clusterRole(components.agent, agentRules, mesh),
  ];
}

function serviceAccount(name: string, mesh: string): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name, namespace: systemNamespace, labels: objectLabels(name, mesh) },
  };
}

function clusterRole(name: string, rules: readonly AccessRule[], mesh: string): Manifest[] {
  const apiVersion = 'rbac.authorization.k8s.io/v1';
  const metadata = { name, labels: objectLabels(name, mesh) };
  return [
    { apiVersion, kind: 'ClusterRole', metadata, rules },
    {
      apiVersion,
      kind: 'ClusterRoleBinding',
      metadata,
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
      subjects: [{ kind: 'ServiceAccount', name, namespace: systemNamespace }],
    },
  ];
}
