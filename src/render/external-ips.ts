import { apiGroup, components, ports } from '../api/names.ts';
import type { Manifest } from '../kube/objects.ts';
import { objectLabels } from './ownership.ts';

/** Name of the policy and of its binding. */
export const externalIpsPolicyName = `external-ips.${apiGroup}`;

/**
 * kube-proxy carries what goes to an external IP and port of a Service to its endpoints, whosever address that is. Who
 * may create Services could so have the tunnels to any pod end at a place of his own; proxies there are none, so each
 * connection to the pod would fail. A Service that has the port already may keep its addresses: whatever else changes in
 * it, its removal too, is not refused.
 */
export function renderExternalIps(mesh: string): Manifest[] {
  const apiVersion = 'admissionregistration.k8s.io/v1';
  const metadata = { name: externalIpsPolicyName, labels: objectLabels(components.operator, mesh) };
  return [
    {
      apiVersion,
      kind: 'ValidatingAdmissionPolicy',
      metadata,
      spec: {
        failurePolicy: 'Fail',
        matchConstraints: {
          resourceRules: [
            { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE', 'UPDATE'], resources: ['services'] },
          ],
        },
        matchConditions: [{ name: 'has-the-port-of-tunnels', expression: hasPort('object') }],
        variables: [
          {
            name: 'before',
            expression: `request.operation == 'UPDATE' && ${hasPort('oldObject')} ? ${addresses('oldObject')} : []`,
          },
        ],
        validations: [
          {
            expression: `${addresses('object')}.all(ip, ip in variables.before)`,
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
      spec: { policyName: externalIpsPolicyName, validationActions: ['Deny'] },
    },
  ];
}

const addresses = (service: string) => `${service}.spec.?externalIPs.orValue([])`;
const hasPort = (service: string) => `${service}.spec.?ports.orValue([]).exists(port, port.port == ${ports.hbone})`;

const message =
  `'the Service ' + object.metadata.?name.orValue('') + ' may not have port ${ports.hbone} at spec.externalIPs: pods of ` +
  `the mesh have their tunnels there, and it would take over those of a pod with that address. Choose another port, or ` +
  `leave spec.externalIPs out'`;
