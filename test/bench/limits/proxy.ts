import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { cargoTarget, root } from '../../../hack/cache.ts';
import { run } from '../../../hack/process.ts';
import { step } from '../../../hack/steps.ts';
import type { Target } from './measure.ts';

const bench = ['bench', '--locked', '-p', 'tulle-proxy', '--bench', 'limits'];
const cwd = join(root, 'dataplane');
const env = { CARGO_TARGET_DIR: cargoTarget };

/** What dataplane/proxy/benches/limits says first. */
interface Names {
  /** Of the proxy. */
  readonly pid: number;
  readonly calls: readonly string[];
  readonly floods: readonly string[];
}

/** A tulle-proxy as it is released, between pods in network namespaces; a program beside it calls and floods on order. */
export async function proxyTarget(): Promise<Target> {
  await step('Building the node proxy, and what floods it', (report) =>
    run('cargo', [...bench, '--no-run'], { cwd, env, onLine: report }),
  );
  const child = spawn('cargo', [...bench, '--quiet'], {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(child, 'close');
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const nextLine = async () => {
    const { done, value } = await lines.next();
    if (done) throw new Error('the program that floods tulle-proxy ended: what it said is above');
    return value;
  };
  const { pid, calls, floods }: Names = JSON.parse(await nextLine());
  // Orders are answered one after another, those that were given up too.
  const order = async (text: string) => {
    child.stdin.write(`${text}\n`);
    const { error }: { error?: string } = JSON.parse(await nextLine());
    if (error !== undefined) throw new Error(error);
  };
  return {
    name: 'tulle-proxy',
    probes: calls.map((name, number) => ({ name, call: () => order(`call ${number}`) })),
    floods: floods.map((name, number) => ({
      name,
      async start() {
        await order(`flood ${number}`);
        return () => order('calm');
      },
    })),
    pid,
    pace: { warmUpMs: 3_000, measureMs: 8_000, pauseMs: 50 },
    async stop() {
      child.stdin.end();
      await ended;
    },
  };
}
