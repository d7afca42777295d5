import { readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { cached, fingerprintFiles, root } from '../cache.ts';
import { run } from '../process.ts';
import type { Report } from '../steps.ts';

const sources = join(root, 'hack/cluster/binaries');

/** What is built, and the names one binary answers to. */
const modules = {
  etcd: ['etcd'],
  kubernetes: ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kube-proxy', 'kubelet', 'kubectl'],
  coredns: ['coredns'],
} as const;

type Module = keyof typeof modules;

/**
 * The path of every program of the test cluster, built from its Go module on first use (minutes) and
 * kept by the module's own versions.
 */
export async function buildBinaries(
  wanted: readonly Module[],
  report: Report = () => {},
): Promise<(program: string) => string> {
  const paths = new Map<string, string>();
  for (const module of wanted) {
    const folder = await buildModule(module, report);
    for (const program of modules[module]) paths.set(program, join(folder, program));
  }
  return (program) => {
    const path = paths.get(program);
    if (path === undefined) throw new Error(`${program} is not among the binaries built: ${wanted.join(', ')}`);
    return path;
  };
}

async function buildModule(module: Module, report: Report): Promise<string> {
  const source = join(sources, module);
  const files = ['go.mod', 'go.sum', 'main.go'].map((file) => join(source, file));
  const ldflags = `-s -w${versionFlag(readFileSync(join(source, 'go.mod'), 'utf8'))}`;
  const key = `${module}-${fingerprintFiles(files, process.arch, ldflags)}`;
  return cached('binaries', key, async (folder) => {
    report(`building ${module} from its Go module (first run only)`);
    const path = join(folder, module);
    await run(
      'go',
      ['build', '-mod=readonly', '-buildvcs=false', '-trimpath', `-ldflags=${ldflags}`, '-o', path, '.'],
      {
        cwd: source,
        env: { CGO_ENABLED: '0' },
        onLine: (line) => report(`${module}: ${line}`),
      },
    );
    const names = new Set(readdirSync(folder));
    for (const program of modules[module]) if (!names.has(program)) symlinkSync(module, join(folder, program));
  });
}

/** Kubernetes' own build writes its version into the binary; so must ours, or nodes report none. */
function versionFlag(goMod: string): string {
  const version = /k8s\.io\/kubernetes (v\S+)/.exec(goMod)?.[1];
  return version === undefined ? '' : ` -X k8s.io/component-base/version.gitVersion=${version}`;
}
