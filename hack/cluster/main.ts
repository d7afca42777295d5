import { join } from 'node:path';
import { root } from '../cache.ts';
import { preflight } from '../setup/preflight.ts';
import { main, note, step } from '../steps.ts';
import { findCluster, removeAccess, startCluster } from './cluster.ts';
import { clusterName } from './layout.ts';
import { nodeCount } from './node-count.ts';
import { removeCluster } from './teardown.ts';

/** `make cluster [NODES=2]` and `make cluster-down`: a real Kubernetes on this machine, without Tulle. */
await main(async () => {
  const [command] = process.argv.slice(2);
  const name = clusterName('dev');
  const kubeconfig = join(root, '.cluster/kubeconfig');
  if (command === 'up') {
    const nodes = nodeCount(process.env.NODES);
    await preflight();
    const running = await findCluster(name, nodes);
    if (running === undefined) await startCluster({ name, nodes, kubeconfig });
    else note(`cluster ${name} is running already`);
    note(`export KUBECONFIG=${kubeconfig}`);
  } else if (command === 'down') {
    await step(`Remove cluster ${name}`, () => removeCluster(name));
    removeAccess(kubeconfig);
  } else {
    throw new Error('usage: main.ts up|down');
  }
});
