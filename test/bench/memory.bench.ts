import { step } from '../../hack/steps.ts';
import { createNamespace } from '../e2e/workloads.ts';
import { type MeshCluster, startMeshCluster } from '../fixtures/mesh-cluster.ts';
import { endChurn, prepareChurn, upheavals } from '../soak/churn.ts';
import { startTraffic } from '../soak/traffic.ts';
import { type Figure, figure } from './figure.ts';

const NS = 'bench-memory';
/** BENCH_MINUTES=30 for a run that shows more. */
const minutes = Number(process.env.BENCH_MINUTES || 3);
/** What is looked at, by the field of /proc/<pid>/status or by counting /proc/<pid>/fd. */
const units = { 'resident memory': 'KiB', 'open files': 'descriptors', threads: 'threads' } as const;
type Measure = keyof typeof units;
const allMeasures: readonly Measure[] = ['resident memory', 'open files', 'threads'];
const programs = ['tulle-proxy', 'tulle-agent'];

interface Sample {
  /** Minutes since the first. */
  readonly at: number;
  readonly values: Readonly<Record<Measure, number>>;
}

/**
 * R29 Whether memory, descriptors and threads of the node's programs stay flat while pods come and go under traffic: the
 * slope over ten minutes, against what the program had after the first third, in which it fills its caches.
 */
export default async function measure(): Promise<Figure[]> {
  const mesh = await startMeshCluster('bench');
  try {
    return await measureOn(mesh);
  } finally {
    if (process.env.KEEP !== '1') await mesh.remove();
  }
}

async function measureOn(mesh: MeshCluster): Promise<Figure[]> {
  await step('Members that talk without a pause', async () => {
    await createNamespace(mesh, NS, 'ambient');
    await prepareChurn(mesh);
    await startTraffic(mesh, NS);
  });
  // Replaced programs have no slope: only what leaves them running.
  const [replacePods] = upheavals(mesh);
  if (replacePods === undefined) throw new Error('nothing happens');
  const samples = await step(`Pods are replaced for ${minutes} minutes`, async () => {
    const begun = Date.now();
    const taken: (readonly [string, Sample])[] = [];
    while (Date.now() - begun < minutes * 60_000) {
      await replacePods.happen();
      taken.push(...(await look(mesh, (Date.now() - begun) / 60_000)));
    }
    return Map.groupBy(taken, ([process]) => process);
  });
  await endChurn(mesh);
  return [...samples].flatMap(([process, taken]) =>
    slopes(
      process,
      taken.map(([, sample]) => sample),
    ),
  );
}

async function look(mesh: MeshCluster, at: number): Promise<(readonly [string, Sample])[]> {
  const looks = mesh.nodes.flatMap((node) =>
    programs.map(async (program) => {
      const script = `pid=$(pidof ${program}); awk '/^(VmRSS|Threads):/ {print $2}' /proc/$pid/status; ls /proc/$pid/fd | wc -l`;
      const [memory = 0, threads = 0, files = 0] = (await mesh.onNode(node, 'sh', '-c', script))
        .trim()
        .split('\n')
        .map(Number);
      const values = { 'resident memory': memory, 'open files': files, threads };
      return [`${program} on ${node.name}`, { at, values }] as const;
    }),
  );
  return Promise.all(looks);
}

function slopes(process: string, samples: readonly Sample[]): Figure[] {
  const settled = samples.slice(Math.floor(samples.length / 3));
  return allMeasures.map((measure) => {
    const points = settled.map(({ at, values }) => [at, values[measure]] as const);
    const [[, first] = [0, 0]] = points;
    return figure(`${process}: ${measure} in 10 min`, units[measure], 10 * slope(points), {
      baseline: first,
      against: 'what it had after a third of the time',
      goal: 0.1,
    });
  });
}

/** By least squares. */
function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [middleX, middleY] = [mean(points.map(([x]) => x)), mean(points.map(([, y]) => y))];
  const over = points.reduce((sum, [x, y]) => sum + (x - middleX) * (y - middleY), 0);
  const under = points.reduce((sum, [x]) => sum + (x - middleX) ** 2, 0);
  return under === 0 ? 0 : over / under;
}
