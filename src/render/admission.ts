import {
  apiGroup,
  apiVersionName,
  components,
  serviceAccountUsername,
  systemNamespace,
  tokenExtra,
} from '../api/names.ts';
import type { Manifest } from '../kube/objects.ts';
import { objectLabels } from './ownership.ts';

/** Name of the policy and of its binding. */
export const meshNodePolicyName = `meshnodes.${apiGroup}`;

/**
 * Each agent writes its own MeshNode only. All agents share one ServiceAccount; what tells them apart is the node in
 * their token, which the API server puts into `userInfo.extra` for tokens bound to a pod (KEP-4193). A token without
 * it is refused.
 */
export function renderAdmission(mesh: string): Manifest[] {
  const apiVersion = 'admissionregistration.k8s.io/v1';
  const metadata = { name: meshNodePolicyName, labels: objectLabels(components.agent, mesh) };
  const agent = serviceAccountUsername(systemNamespace, components.agent);
  return [
    {
      apiVersion,
      kind: 'ValidatingAdmissionPolicy',
      metadata,
      spec: {
        failurePolicy: 'Fail',
        matchConstraints: {
          resourceRules: [
            {
              apiGroups: [apiGroup],
              apiVersions: [apiVersionName],
              operations: ['CREATE', 'UPDATE', 'DELETE'],
              resources: ['meshnodes', 'meshnodes/status'],
            },
          ],
        },
        matchConditions: [{ name: 'by-an-agent', expression: `request.userInfo.username == '${agent}'` }],
        variables: [
          {
            name: 'nodes',
            expression: `has(request.userInfo.extra) && '${tokenExtra.nodeName}' in request.userInfo.extra ? request.userInfo.extra['${tokenExtra.nodeName}'] : []`,
          },
        ],
        validations: [
          {
            expression: 'size(variables.nodes) == 1 && variables.nodes[0] == request.name',
            messageExpression: `'tulle-agent may write the MeshNode of its own node only: ' + request.name + ' is not ' + (size(variables.nodes) == 1 ? variables.nodes[0] : 'that of a token bound to a node')`,
            reason: 'Forbidden',
          },
        ],
      },
    },
    {
      apiVersion,
      kind: 'ValidatingAdmissionPolicyBinding',
      metadata,
      spec: { policyName: meshNodePolicyName, validationActions: ['Deny'] },
    },
  ];
}
