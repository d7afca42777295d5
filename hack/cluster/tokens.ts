import { adminUser, writeTokens } from './control-plane.ts';
import { type ClusterLayout, clusterLayout, maxNodes } from './layout.ts';
import { nodeUser } from './node.ts';
import { componentUsers } from './node-config.ts';

/**
 * The token of each user of a cluster, written to its folder. The API server reads them once, at its start: nodes that
 * may join later have theirs from the beginning.
 */
export function clusterTokens({ name, slot, folder }: ClusterLayout): (user: string) => string {
  const nodes = clusterLayout(name, slot, maxNodes).nodes;
  const { tokens } = writeTokens(folder, [adminUser, ...componentUsers, ...nodes.map(nodeUser)]);
  return (user) => tokens.get(user) ?? '';
}
