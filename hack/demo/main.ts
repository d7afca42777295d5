import { labels, meshName } from '../../src/api/names.ts';
import { buildImages } from '../images/images.ts';
import { install } from '../install/install.ts';
import { elapsed, main, note, step } from '../steps.ts';
import { builtInCluster } from './built-in.ts';
import type { ClusterKind, DemoCluster } from './cluster.ts';
import { kindCluster } from './kind.ts';
import { withPatience } from './patience.ts';
import { type DemoFacts, judge, timeToFirstEncryptedByte } from './promises.ts';
import { findingLines, identityLines, secondsText, tunnelLines } from './screen.ts';
import { applyShop, SHOP } from './shop.ts';
import { watchLabel } from './watch.ts';
import { tunnelTraffic } from './wire.ts';

/** The default is 30 s; a shorter grace only makes the demo shorter. */
const GRACE_SECONDS = 10;

/** `make demo` and `make demo-down`: the main job on a fresh cluster, shown step by step and judged at the end. */
await main(async () => {
  const kind = clusterKind(process.env.CLUSTER);
  const [command] = process.argv.slice(2);
  if (command === 'down') {
    await step('Remove the demo cluster', () => kind.remove());
  } else if (command === 'up') {
    const cluster = await kind.start();
    await installMesh(cluster);
    await step('The shop, outside the mesh', (report) => applyShop(cluster, report));
    present(cluster, await watchLabel(withPatience(cluster)));
  } else {
    throw new Error('usage: main.ts up|down');
  }
});

function clusterKind(name: string | undefined): ClusterKind {
  if (name === undefined || name === '') return builtInCluster();
  if (name === 'kind') return kindCluster();
  throw new Error(`CLUSTER=${name}: give kind, or nothing for the cluster that comes with Tulle`);
}

async function installMesh(cluster: DemoCluster): Promise<void> {
  const images = await step('Images', (report) =>
    buildImages(['tulle', 'tulle-node', 'sample-shop', 'sample-redis'], report),
  );
  note(images.map(({ tag, bytes }) => `${tag}: ${(bytes / 1e6).toFixed(0)} MB`).join('\n'));
  await step('Images into the nodes', () => cluster.loadImages(images));
  await step('Tulle', async (report) => {
    await install(cluster, report);
    const spec = { enrolment: { existingConnections: { graceSeconds: GRACE_SECONDS } } };
    await cluster.kubectl('patch', 'mesh', meshName, '--type=merge', '-p', JSON.stringify({ spec }));
  });
}

function present(cluster: DemoCluster, facts: DemoFacts): void {
  const findings = judge(facts);
  const first = timeToFirstEncryptedByte(facts);
  note('What anyone on the network sees now:');
  note(tunnelLines(tunnelTraffic(facts.wires, facts.podsAfter, facts.after)).join('\n'));
  note('The identities each connection was made with:');
  note(identityLines(facts.identities).join('\n'));
  note(`From the label to the first encrypted byte: ${first === undefined ? 'never' : secondsText(first)}`);
  note(findingLines(findings).join('\n'));
  showNext(cluster);
  const broken = findings.filter(({ holds }) => !holds);
  if (broken.length > 0) {
    throw new Error(`not as promised:\n${broken.map(({ promise, seen }) => `  - ${promise}: ${seen}`).join('\n')}`);
  }
}

function showNext(cluster: DemoCluster): void {
  note(`The whole demo took ${elapsed()}. The cluster is left running; to try next:`);
  const path = cluster.kubectlFolder === undefined ? '' : ` PATH=${cluster.kubectlFolder}:$PATH`;
  note(`  export KUBECONFIG=${cluster.kubeconfig}${path}`);
  note(`  bin/tulle status -n ${SHOP}`);
  note(`  kubectl -n ${SHOP} exec deploy/visitor -- node /app/main.js stats`);
  note(`  kubectl label namespace ${SHOP} ${labels.mode}-`);
  note('and at the end: make demo-down');
}
