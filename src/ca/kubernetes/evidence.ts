/** What the Mesh and the MeshNodes tell of an authority, read from a real API server. */
import type { Mesh } from '../../api/mesh.ts';
import type { MeshNode } from '../../api/mesh-node.ts';
import { meshesPath, meshName, meshNodesPath } from '../../api/names.ts';
import type { KubeClient } from '../../kube/client/client.ts';
import type { EvidenceStore } from '../authority/stores.ts';

/** MeshNodes list their pods, up to 1,024 each: a page of them is some megabytes. */
const nodesAPage = 50;

/**
 * Lists without a resourceVersion, which the API server answers from etcd, never from its cache. MeshNodes are read only where
 * the Mesh reports no authority, as a new one does.
 */
export function kubernetesEvidence(client: Pick<KubeClient, 'list'>): EvidenceStore {
  return {
    async read() {
      const { items } = await client.list<Mesh>(meshesPath, { fieldSelector: `metadata.name=${meshName}` });
      const reported = items[0]?.status?.authority;
      if (reported !== undefined) return { reported, acknowledged: [] };
      return { reported, acknowledged: await acknowledgedBundles(client) };
    },
  };
}

async function acknowledgedBundles(client: Pick<KubeClient, 'list'>): Promise<readonly string[]> {
  const found = new Set<string>();
  let next: string | undefined;
  do {
    const { items, metadata } = await client.list<MeshNode>(meshNodesPath, { limit: nodesAPage, continue: next });
    for (const { status } of items) if (status?.proxy?.trustBundleSha256) found.add(status.proxy.trustBundleSha256);
    next = metadata.continue === '' ? undefined : metadata.continue;
  } while (next !== undefined);
  return [...found];
}
