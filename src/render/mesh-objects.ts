import type { MeshSpec } from '../api/mesh.ts';
import { systemNamespace } from '../api/names.ts';
import type { Manifest } from '../kube/objects.ts';
import { renderAccess } from './access.ts';
import { renderAdmission } from './admission.ts';
import { renderAgent } from './agent.ts';
import { renderControl } from './control.ts';
import { renderExternalIps } from './external-ips.ts';
import { renderNetworkPolicies } from './network-policies.ts';
import { renderOptOut } from './opt-out.ts';
import { renderProxy } from './proxy.ts';
import type { Release } from './release.ts';
import type { ServerFeatures } from './server-features.ts';
import { renderStartupTaint } from './startup-taint.ts';

/** What the objects of a Mesh depend on besides its spec. */
export interface Surroundings {
  readonly release: Release;
  readonly features: ServerFeatures;
  /** Addresses of the Service of control; empty until it has some. */
  readonly controlAddresses: readonly string[];
}

/**
 * Every object a Mesh stands for, in the order to apply them: rights before those who use them, network policies before the
 * pods that they close a port of, control before its clients.
 */
export function renderMesh(spec: MeshSpec, surroundings: Surroundings, mesh: string): Manifest[] {
  const { release, features, controlAddresses } = surroundings;
  return [
    ...renderAccess(mesh),
    ...renderAdmission(mesh),
    ...renderExternalIps(mesh),
    ...renderOptOut(spec, mesh),
    ...renderStartupTaint(spec, features, mesh),
    ...renderNetworkPolicies(spec, mesh),
    ...renderControl(spec, release, mesh),
    ...renderProxy(spec, release, mesh, controlAddresses),
    ...renderAgent(spec, release, mesh),
  ];
}

/** A collection that holds rendered objects. */
export interface OwnedKind {
  apiVersion: string;
  kind: string;
  /** The collection's path. Namespaced kinds are in `tulle-system`. */
  path: string;
}

/** Every kind `renderMesh` may give: what the operator watches, and where it looks for what to prune. */
export function ownedKinds({ mutatingAdmission }: ServerFeatures): readonly OwnedKind[] {
  if (mutatingAdmission === undefined) return everywhereServed;
  const apiVersion = `admissionregistration.k8s.io/${mutatingAdmission}`;
  return [
    ...everywhereServed,
    cluster(apiVersion, 'MutatingAdmissionPolicy', 'mutatingadmissionpolicies'),
    cluster(apiVersion, 'MutatingAdmissionPolicyBinding', 'mutatingadmissionpolicybindings'),
  ];
}

const everywhereServed: readonly OwnedKind[] = [
  namespaced('v1', 'ServiceAccount', 'serviceaccounts'),
  namespaced('v1', 'Service', 'services'),
  namespaced('networking.k8s.io/v1', 'NetworkPolicy', 'networkpolicies'),
  namespaced('policy/v1', 'PodDisruptionBudget', 'poddisruptionbudgets'),
  namespaced('apps/v1', 'Deployment', 'deployments'),
  namespaced('apps/v1', 'DaemonSet', 'daemonsets'),
  cluster('rbac.authorization.k8s.io/v1', 'ClusterRole', 'clusterroles'),
  cluster('rbac.authorization.k8s.io/v1', 'ClusterRoleBinding', 'clusterrolebindings'),
  cluster('admissionregistration.k8s.io/v1', 'ValidatingAdmissionPolicy', 'validatingadmissionpolicies'),
  cluster('admissionregistration.k8s.io/v1', 'ValidatingAdmissionPolicyBinding', 'validatingadmissionpolicybindings'),
];

function namespaced(apiVersion: string, kind: string, plural: string): OwnedKind {
  return { apiVersion, kind, path: `${root(apiVersion)}/namespaces/${systemNamespace}/${plural}` };
}

function cluster(apiVersion: string, kind: string, plural: string): OwnedKind {
  return { apiVersion, kind, path: `${root(apiVersion)}/${plural}` };
}

function root(apiVersion: string): string {
  return apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
}
