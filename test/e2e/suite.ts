import { after } from 'mocha';
import { type MeshCluster, startMeshCluster } from '../fixtures/mesh-cluster.ts';

let shared: Promise<MeshCluster> | undefined;

/** The suite's one cluster, started by the first test that asks; removed at the end, or left up with KEEP=1. */
export function meshCluster(): Promise<MeshCluster> {
  shared ??= startMeshCluster('test');
  return shared;
}

after(async function () {
  this.timeout(60_000);
  if (shared === undefined || process.env.KEEP === '1') return;
  await (await shared).remove();
});
