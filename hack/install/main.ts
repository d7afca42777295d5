import { existsSync } from 'node:fs';
import { buildBinaries } from '../cluster/binaries.ts';
import { findCluster } from '../cluster/cluster.ts';
import { clusterName } from '../cluster/layout.ts';
import { buildImages } from '../images/images.ts';
import { run } from '../process.ts';
import { main, note, step } from '../steps.ts';
import { builtImages, type InstallTarget, install } from './install.ts';

/**
 * `make install`: Tulle on the cluster of KUBECONFIG. Images are built and loaded into the cluster of
 * `make cluster`; for any other name images that its nodes can pull with TULLE_IMAGE and TULLE_NODE_IMAGE.
 */
await main(async () => {
  const kubeconfig = process.env.KUBECONFIG ?? '';
  if (!existsSync(kubeconfig)) {
    throw new Error(`KUBECONFIG=${kubeconfig}: there is no such file; start a cluster with \`make cluster\``);
  }
  const program = await buildBinaries();
  const kubectl = (args: readonly string[], input = '') =>
    run(program('kubectl'), ['--kubeconfig', kubeconfig, ...args], { input });
  const target: InstallTarget = {
    kubectl: (...args) => kubectl(args),
    apply: (manifests) => kubectl(['apply', '--server-side', '--force-conflicts', '-f', '-'], manifests),
  };
  const images = {
    tulle: process.env.TULLE_IMAGE ?? builtImages.tulle,
    node: process.env.TULLE_NODE_IMAGE ?? builtImages.node,
  };
  const own = await findCluster(clusterName('dev'));
  if (own !== undefined && images.tulle === builtImages.tulle && images.node === builtImages.node) {
    await step('Images', async (report) => {
      const built = await buildImages(['tulle', 'tulle-node'], report);
      report('loading');
      await own.loadImages(built);
    });
  }
  await step('Tulle', (report) => install(target, report, images));
  note('kubectl label namespace NAME mesh.tulle.dev/mode=ambient');
});
