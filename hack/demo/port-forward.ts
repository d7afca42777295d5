import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { DemoCluster } from './cluster.ts';

/** For kubectl to say that it listens, ms. */
const limitMs = 20_000;

/** Calls `use` with the address at which this machine reaches a pod's loopback port, by `kubectl port-forward`. */
export async function withPortForward<T>(
  { kubeconfig, kubectlFolder }: Pick<DemoCluster, 'kubeconfig' | 'kubectlFolder'>,
  pod: { readonly namespace: string; readonly name: string },
  port: number,
  use: (address: string) => Promise<T>,
): Promise<T> {
  const kubectl = kubectlFolder === undefined ? 'kubectl' : join(kubectlFolder, 'kubectl');
  const args = ['--kubeconfig', kubeconfig, '-n', pod.namespace, 'port-forward', `pod/${pod.name}`, `:${port}`];
  const child = spawn(kubectl, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  const listening = new Promise<string>((resolve, reject) => {
    const fail = (why: string) => {
      clearTimeout(timer);
      reject(new Error(`kubectl port-forward ${pod.name}: ${why}: ${said}`));
    };
    const timer = setTimeout(() => fail(`not within ${limitMs} ms`), limitMs);
    child.once('error', reject);
    child.once('close', () => fail('it ended'));
    for (const output of [child.stdout, child.stderr]) {
      output.on('data', (data: Buffer) => {
        said += data;
        const address = /Forwarding from (127\.0\.0\.1:\d+)/.exec(said)?.[1];
        if (address === undefined) return;
        clearTimeout(timer);
        resolve(address);
      });
    }
  });
  try {
    return await use(await listening);
  } finally {
    child.kill();
  }
}
