import { setTimeout as delay } from 'node:timers/promises';
import { labels, meshName, modes } from '../../src/api/names.ts';
import { note, step } from '../steps.ts';
import type { DemoCluster } from './cluster.ts';
import type { DemoFacts } from './promises.ts';
import { proxyIdentities } from './proxies.ts';
import { type Recording, startRecording } from './recorder.ts';
import { progressText, readableExcerpts } from './screen.ts';
import { enrolmentProgress, type PodFacts, SHOP, shopEnrolment, shopPods, shopVisits } from './shop.ts';
import { analyseWires, readableIn, type Window } from './wire.ts';

const WATCH_BEFORE_MS = 6000;
const WATCH_AFTER_MS = 12_000;
const ENROLMENT_LIMIT_MS = 180_000;

/** Labels the namespace of the shop: records the wire from before the label until all is quiet, and collects what the cluster says. */
export async function watchLabel(cluster: DemoCluster): Promise<DemoFacts> {
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

function micros(): number {
  return Date.now() * 1000;
}

function seconds(since: number): string {
  return `${((Date.now() - since) / 1000).toFixed(1)} s`.padStart(7);
}
