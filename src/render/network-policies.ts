import type { MeshSpec } from '../api/mesh.ts';
import { components, ports, systemNamespace } from '../api/names.ts';
import type { Manifest } from '../kube/objects.ts';
import { controlPorts } from './control.ts';
import { objectLabels, selectorLabels } from './ownership.ts';
import type { ContainerPort } from './pod-parts.ts';
import { proxyPorts } from './proxy.ts';

/**
 * Who reaches the port of metrics without TLS: pods of the namespaces that the Mesh names. Every other port is open to everybody.
 * Each is listed: a network plugin that does not know ranges (`endPort`) would close the ports that the mesh lives on.
 *
 * The policies are there also where no namespace is named, and then let nobody to that port. So it is covered before the first
 * pod opens it, and until the last that has it open is gone, which may drain for an hour after the Mesh names nobody any more.
 */
export function renderNetworkPolicies({ telemetry }: MeshSpec, mesh: string): Manifest[] {
  const readers = telemetry.plaintextMetricsFrom;
  return [
    networkPolicy(components.control, controlPorts, readers, mesh),
    networkPolicy(components.proxy, proxyPorts, readers, mesh),
  ];
}

function networkPolicy(
  name: string,
  open: readonly ContainerPort[],
  readers: readonly string[],
  mesh: string,
): Manifest {
  const everybody = { ports: open.map(({ containerPort }) => tcp(containerPort)) };
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace: systemNamespace, labels: objectLabels(name, mesh) },
    spec: {
      podSelector: { matchLabels: selectorLabels(name) },
      policyTypes: ['Ingress'],
      // A rule with an empty `from` would let everybody in.
      ingress: readers.length === 0 ? [everybody] : [everybody, toReaders(readers)],
    },
  };
}

function toReaders(namespaces: readonly string[]) {
  const matchExpressions = [{ key: 'kubernetes.io/metadata.name', operator: 'In', values: [...namespaces] }];
  return { from: [{ namespaceSelector: { matchExpressions } }], ports: [tcp(ports.plaintextMetrics)] };
}

function tcp(port: number) {
  return { port, protocol: 'TCP' };
}
