import type { MeshSpec } from '../api/mesh.ts';
import { apiGroup, components, labels, meshName, modes, neverEnrolledNamespaces } from '../api/names.ts';
import type { Manifest } from '../kube/objects.ts';
import { objectLabels } from './ownership.ts';

/** Name of the policy and of its binding. */
export const optOutPolicyName = `pod-opt-out.${apiGroup}`;

/**
 * Where the Mesh denies it, no pod comes to leave the mesh of its namespace by its own label. A pod that has the label
 * keeps it: whatever else changes in it is not refused, nor is it evicted from what it was allowed before.
 */
export function renderOptOut({ enrolment }: MeshSpec, mesh: string): Manifest[] {
  if (enrolment.podOptOut === 'Allowed') return [];
  const apiVersion = 'admissionregistration.k8s.io/v1';
  const metadata = { name: optOutPolicyName, labels: objectLabels(components.operator, mesh) };
  return [
    {
      apiVersion,
      kind: 'ValidatingAdmissionPolicy',
      metadata,
      spec: {
        failurePolicy: 'Fail',
        matchConstraints: {
          namespaceSelector: {
            matchLabels: { [labels.mode]: modes.ambient },
            matchExpressions: [
              { key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: neverEnrolledNamespaces },
            ],
          },
          // Looks at the object before and after the request; which of them has the label is for the validation.
          objectSelector: { matchLabels: { [labels.mode]: modes.none } },
          resourceRules: [
            {
              apiGroups: [''],
              apiVersions: ['v1'],
              operations: ['CREATE', 'UPDATE'],
              // The API server copies the labels of a Binding to its pod.
              resources: ['pods', 'pods/status', 'pods/binding', 'bindings'],
            },
          ],
        },
        variables: [
          { name: 'isOut', expression: hasLeft('object') },
          { name: 'wasOut', expression: `request.operation == 'UPDATE' && ${hasLeft('oldObject')}` },
        ],
        validations: [
          {
            expression: '!variables.isOut || variables.wasOut',
            messageExpression: message,
            reason: 'Forbidden',
          },
        ],
      },
    },
    {
      apiVersion,
      kind: 'ValidatingAdmissionPolicyBinding',
      metadata,
      spec: { policyName: optOutPolicyName, validationActions: ['Deny'] },
    },
  ];
}

const hasLeft = (object: string) => `${object}.metadata.?labels[?'${labels.mode}'].orValue('') == '${modes.none}'`;

const message =
  `'the pod ' + object.metadata.?name.orValue('') + ' may not leave the mesh of namespace ' + request.namespace + ` +
  `' by the label ${labels.mode}=${modes.none}: spec.enrolment.podOptOut of the Mesh ${meshName} is Denied, which a ` +
  `cluster administrator can change'`;
