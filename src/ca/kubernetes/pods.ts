import type { KubeClient } from '../../kube/client/client.ts';
import type { Pod } from '../../kube/objects.ts';
import { serviceAccountOf } from '../../kube/service-account.ts';
import { coalesced } from '../issuance/coalesced.ts';
import type { PodLookup, PodRecord } from '../issuance/pod-lookup.ts';

/** What an identity decision needs of a Pod object. */
export function podRecord(pod: Pod): PodRecord {
  return {
    namespace: pod.metadata.namespace ?? '',
    name: pod.metadata.name,
    uid: pod.metadata.uid ?? '',
    serviceAccount: serviceAccountOf(pod),
    node: pod.spec?.nodeName,
    phase: pod.status?.phase ?? 'Pending',
    hostNetwork: pod.spec?.hostNetwork === true,
  };
}

/**
 * Pods as the API server itself has them, for the fallback of a watched copy and for tests. A caller that asks for what is not
 * there makes one request at a time, whatever it asks for.
 */
export function livePodLookup(client: Pick<KubeClient, 'find' | 'listAll'>): PodLookup {
  const read = coalesced(async (path: string) => {
    const pod = await client.find<Pod>(path);
    return pod === undefined ? undefined : podRecord(pod);
  });
  const list = coalesced(async (node: string) => {
    const pods = await client.listAll<Pod>('/api/v1/pods', { fieldSelector: `spec.nodeName=${node}` });
    return pods.map(podRecord);
  });
  return {
    podByName: (namespace, name) =>
      read(`/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`),
    podsOnNode: (node) => list(node),
  };
}

/** A watched copy of the pods, as far as a lookup needs it. */
export interface WatchedPods {
  /** By `namespace/name`. */
  get(key: string): Pod | undefined;
  onNode(node: string): Iterable<Pod>;
}

/** Answers from a watched copy, and from the API server when a fresh answer is asked for. */
export function watchedPodLookup(watched: WatchedPods, live: PodLookup): PodLookup {
  return {
    async podByName(namespace, name, options) {
      if (options?.fresh === true) return live.podByName(namespace, name);
      const pod = watched.get(`${namespace}/${name}`);
      return pod === undefined ? undefined : podRecord(pod);
    },
    async podsOnNode(node, options) {
      if (options?.fresh === true) return live.podsOnNode(node);
      return Array.from(watched.onNode(node), podRecord);
    },
  };
}
