import type { MeshSpec } from '../api/mesh.ts';
import { apiGroup, components, startupTaint } from '../api/names.ts';
import type { Manifest } from '../kube/objects.ts';
import { objectLabels } from './ownership.ts';
import { osLabel } from './pod-parts.ts';
import type { ServerFeatures } from './server-features.ts';

/** Name of the policy and of its binding. */
export const startupTaintPolicyName = `startup-taint.${apiGroup}`;

/**
 * Nodes are created with the startup taint, so that no pod is ahead of the operator. In the API server and by CEL
 * alone: there is no webhook that a new cluster would need before it has nodes.
 *
 * Ignore, not Fail: an error here must not keep nodes from joining, and the operator taints any Node that comes without it.
 */
export function renderStartupTaint(spec: MeshSpec, { mutatingAdmission }: ServerFeatures, mesh: string): Manifest[] {
  if (spec.node.startupTaint === 'Off' || mutatingAdmission === undefined) return [];
  const apiVersion = `admissionregistration.k8s.io/${mutatingAdmission}`;
  const metadata = { name: startupTaintPolicyName, labels: objectLabels(components.operator, mesh) };
  return [
    {
      apiVersion,
      kind: 'MutatingAdmissionPolicy',
      metadata,
      spec: {
        failurePolicy: 'Ignore',
        reinvocationPolicy: 'Never',
        matchConstraints: {
          resourceRules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['nodes'] }],
        },
        matchConditions: [
          {
            // A kubelet registers with this label; a Node that somebody else makes may get it later.
            name: 'not-known-to-be-without-linux',
            expression: `object.metadata.?labels[?'${osLabel}'].orValue('linux') == 'linux'`,
          },
          {
            name: 'not-tainted-already',
            expression: `!object.?spec.?taints.orValue([]).exists(taint, taint.key == '${startupTaint.key}' && taint.effect in ['NoSchedule', 'NoExecute'])`,
          },
        ],
        mutations: [{ patchType: 'JSONPatch', jsonPatch: { expression: addTaint } }],
      },
    },
    {
      apiVersion,
      kind: 'MutatingAdmissionPolicyBinding',
      metadata,
      spec: { policyName: startupTaintPolicyName },
    },
  ];
}

/**
 * Taints are an atomic list, which only a JSON patch may extend, and the list must be there for that. It is made empty
 * first: Kubernetes 1.36.3 ends the request with an internal error when a list of Objects is the value.
 */
const addTaint = `(has(object.spec.taints) ? [] : [JSONPatch{op: 'add', path: '/spec/taints', value: []}]) +
  [JSONPatch{
    op: 'add',
    path: '/spec/taints/-',
    value: Object.spec.taints{key: '${startupTaint.key}', effect: '${startupTaint.effect}'}
  }]`;
