import { setTimeout as delay } from 'node:timers/promises';
import { labels, meshName, modes } from '../../src/api/names.ts';
import { buildImages } from '../images/images.ts';
import { install } from '../install/install.ts';
import { elapsed, main, note, step } from '../steps.ts';
import { builtInCluster } from './built-in.ts';
import type { ClusterKind, DemoCluster } from './cluster.ts';
import { kindCluster } from './kind.ts';
import { withPatience } from './patience.ts';
import { proxyIdentities } from './proxies.ts';
import { type Recording, startRecording } from './recorder.ts';
import { findingLines, identityLines, progressText, readableExcerpts, secondsText, tunnelLines } from './screen.ts';
import { applyShop, enrolmentProgress, type PodFacts, SHOP, shopEnrolment, shopPods, shopVisits } from './shop.ts';
import { type DemoFacts, judge, timeToFirstEncryptedByte } from './verdict.ts';
import { analyseWires, readableIn, tunnelTraffic, type Window } from './wire.ts';

const WATCH_BEFORE_MS = 6000;
const WATCH_AFTER_MS = 12_000;
const ENROLMENT_LIMIT_MS = 180_000;
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

/** The heart of it: records the wire from before the label until all is quiet, and collects what the cluster says. */
async function watchLabel(cluster: DemoCluster): Promise<DemoFacts> {
  const recording = await startRecording(cluster);
  const begun = micros();
  const podsBefore = await shopPods(cluster);
  await step('Packets between the nodes, before the label', () => delay(WATCH_BEFORE_MS));
  const visitsBefore = await shopVisits(cluster);
  showReadable(recording, podsBefore, { from: begun, to: micros() });

  const label = `${labels.mode}=${modes.ambient}`;
  const before = { from: begun, to: micros() }; // ends before the command runs: its own time counts
  await step(`kubectl label namespace ${SHOP} ${label}`, () => cluster.kubectl('label', 'namespace', SHOP, label));
  await waitForEnrolment(cluster, podsBefore);
  const settled = micros();
  await step('Packets between the nodes, after the label', () => delay(WATCH_AFTER_MS));
  const after = { from: settled, to: micros() };

  return step('What the wire, the pods, the proxies and the visitor say', async () => {
    const captures = await recording.end();
    const podsAfter = await shopPods(cluster);
    return {
      ...{ podsBefore, podsAfter, visitsBefore, before, after },
      visitsAfter: await shopVisits(cluster),
      states: await shopEnrolment(cluster),
      identities: await proxyIdentities(cluster, SHOP),
      trustDomain: await trustDomain(cluster),
      wires: analyseWires(captures, [...podsBefore, ...podsAfter]),
    };
  });
}

function showReadable(recording: Recording, pods: readonly PodFacts[], window: Window): void {
  const wires = analyseWires(recording.soFar(), pods);
  note('Anyone on the network can read:');
  note(readableExcerpts(readableIn(wires, pods, window)).join('\n'));
}

/** Waits until every pod is Secured and nothing older is left; gives up after a while, for the verdict to say why. */
async function waitForEnrolment(cluster: DemoCluster, pods: readonly PodFacts[]): Promise<void> {
  const changes: string[] = [];
  const begun = Date.now();
  await step('Enrolment, as the agents on the nodes report it', async (report) => {
    for (;;) {
      const progress = enrolmentProgress(pods, await shopEnrolment(cluster));
      const text = progressText(progress, pods.length);
      report(text);
      if (changes.at(-1)?.endsWith(text) !== true) changes.push(`${seconds(begun)}  ${text}`);
      if (progress.done || Date.now() - begun > ENROLMENT_LIMIT_MS) return;
      await delay(250);
    }
  });
  note(changes.join('\n'));
}

async function trustDomain(cluster: DemoCluster): Promise<string> {
  return cluster.kubectl('get', 'mesh', meshName, '-o', 'jsonpath={.spec.trustDomain}');
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
  note(`The whole demo took ${elapsed()}. The cluster is left running:`);
  const path = cluster.kubectlFolder === undefined ? '' : ` PATH=${cluster.kubectlFolder}:$PATH`;
  note(`  export KUBECONFIG=${cluster.kubeconfig}${path}`);
  note('  kubectl get mesh,meshnodes');
  note(`  kubectl -n ${SHOP} exec deploy/visitor -- node /app/main.js stats`);
  note(`  kubectl label namespace ${SHOP} ${labels.mode}-`);
  note('  make demo-down');
  const broken = findings.filter(({ holds }) => !holds);
  if (broken.length > 0) {
    throw new Error(`not as promised:\n${broken.map(({ promise, seen }) => `  - ${promise}: ${seen}`).join('\n')}`);
  }
}

function micros(): number {
  return Date.now() * 1000;
}

function seconds(since: number): string {
  return `${((Date.now() - since) / 1000).toFixed(1)} s`.padStart(7);
}
