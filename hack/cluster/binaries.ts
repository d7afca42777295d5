import { globSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { cached, fingerprintFiles, root } from '../cache.ts';
import { run } from '../process.ts';
import type { Report } from '../steps.ts';

/** One Go module, so that what etcd, Kubernetes and CoreDNS share is compiled once. */
const source = join(root, 'hack/cluster/binaries');

/** The names that Kubernetes' one binary answers to. */
const kubernetesPrograms = [
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'kube-proxy',
  'kubelet',
  'kubectl',
];
const programs = ['etcd', 'coredns', ...kubernetesPrograms];

/**
 * The path of every program of the test cluster, built from its Go module on first use (minutes) and
 * kept by the versions the module names.
 */
export async function buildBinaries(report: Report = () => {}): Promise<(program: string) => string> {
  const files = ['go.mod', 'go.sum', ...globSync('*/main.go', { cwd: source }).sort()].map((file) =>
    join(source, file),
  );
  const ldflags = `-s -w${versionFlag(readFileSync(join(source, 'go.mod'), 'utf8'))}`;
  const key = `cluster-${fingerprintFiles(files, process.arch, ldflags)}`;
  const folder = await cached('binaries', key, async (draft) => {
    report('building etcd, Kubernetes and CoreDNS from their Go modules (first run only)');
    await run('go', ['build', '-v', ...buildFlags, `-ldflags=${ldflags}`, '-o', `${draft}/`, './...'], {
      cwd: source,
      env: buildEnv,
      onLine: (line) => report(line),
    });
    for (const program of kubernetesPrograms) symlinkSync('kubernetes', join(draft, program));
  });
  return (program) => {
    if (!programs.includes(program))
      throw new Error(`${program} is not among the programs built: ${programs.join(', ')}`);
    return join(folder, program);
  };
}

const buildFlags = ['-mod=readonly', '-buildvcs=false', '-trimpath'];
const buildEnv = { CGO_ENABLED: '0' };

/** Runs `go vet` over the module, with the flags of the build: what that compiled is not compiled again. */
export async function vetBinaries(): Promise<void> {
  await run('go', ['vet', ...buildFlags, './...'], { cwd: source, env: buildEnv });
}

/** Kubernetes' own build writes its version into the binary; so must ours, or nodes report none. */
function versionFlag(goMod: string): string {
  const version = /k8s\.io\/kubernetes (v\S+)/.exec(goMod)?.[1];
  return version === undefined ? '' : ` -X k8s.io/component-base/version.gitVersion=${version}`;
}
