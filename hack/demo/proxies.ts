import { z } from 'zod';
import { components, ownedLabels, ports, systemNamespace } from '../../src/api/names.ts';
import type { DemoCluster } from './cluster.ts';
import { type IdentityPair, identityPairs, seenIdentities } from './identities.ts';
import { withPortForward } from './port-forward.ts';

const podNames = z.object({ items: z.array(z.object({ metadata: z.object({ name: z.string() }) })) });

/** The pairs of identities that the proxies of all nodes counted connections for, within a namespace. */
export async function proxyIdentities(cluster: DemoCluster, namespace: string): Promise<IdentityPair[]> {
  const selector = `${ownedLabels.name}=${components.proxy}`;
  const text = await cluster.kubectl('-n', systemNamespace, 'get', 'pods', '-l', selector, '-o', 'json');
  const pages = await Promise.all(
    podNames.parse(JSON.parse(text)).items.map(({ metadata }) => {
      const pod = { namespace: systemNamespace, name: metadata.name };
      return withPortForward(cluster, pod, ports.proxyAdmin, async (address) =>
        (await fetch(`http://${address}/metrics`)).text(),
      );
    }),
  );
  return identityPairs(pages.flatMap(seenIdentities), namespace);
}
