/** Names of the mesh's resources on the wire. The cluster and the network are the only ones there are, so they are fixed. */

export const clusterId = 'Kubernetes';
export const network = '';
export const clusterDomain = 'cluster.local';

/** Name of the workload a pod is: `<cluster>//Pod/<namespace>/<name>`. */
export function podResourceName(namespace: string, name: string): string {
  return `${clusterId}//Pod/${namespace}/${name}`;
}

/** Name of the workload an endpoint without a pod is, for example the API server behind `default/kubernetes`. */
export function endpointResourceName(namespace: string, slice: string, ip: string): string {
  return `${clusterId}/discovery.k8s.io/EndpointSlice/${namespace}/${slice}/${ip}`;
}

export function serviceHostname(namespace: string, name: string): string {
  return `${name}.${namespace}.svc.${clusterDomain}`;
}

/** Name of a service: `<namespace>/<hostname>`. */
export function serviceResourceName(namespace: string, name: string): string {
  return `${namespace}/${serviceHostname(namespace, name)}`;
}

/** The name an address is asked for by: `<network>/<IP>`. */
export function addressAlias(ip: string): string {
  return `${network}/${ip}`;
}
