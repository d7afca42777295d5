import { mkdirSync, readFileSync, statfsSync } from 'node:fs';
import { cacheFolder } from '../cache.ts';
import { clustersFolder } from '../cluster/layout.ts';
import { run } from '../process.ts';

const gib = 1024 ** 3;
/** Two nodes with Tulle and the shop need about 1.5 GiB; compiling the node proxy needs the most. */
const memoryNeeded = 3 * gib;
const diskNeeded = 12 * gib;

/** What a cluster needs of this machine and cannot install; throws one error that names everything missing. */
export async function preflight(): Promise<void> {
  const found = await Promise.all([
    memory(),
    disk(cacheFolder),
    disk(clustersFolder),
    ports(),
    namespaces(),
    overlay(),
  ]);
  const problems = [...new Set(found.filter((problem) => problem !== undefined))];
  if (problems.length === 0) return;
  throw new Error(`this machine cannot run a cluster:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`);
}

function memory(): string | undefined {
  const kib = /^MemAvailable:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1];
  const available = Number(kib) * 1024;
  if (!(available < memoryNeeded)) return undefined;
  return `${size(available)} of memory are free, and ${size(memoryNeeded)} are needed: end other programs or add memory`;
}

function disk(folder: string): string | undefined {
  mkdirSync(folder, { recursive: true });
  const { bavail, bsize } = statfsSync(folder);
  if (bavail * bsize >= diskNeeded) return undefined;
  return (
    `${folder} has ${size(bavail * bsize)} free, and ${size(diskNeeded)} are needed: ` +
    'make room, or name other folders with TULLE_CACHE and TULLE_CLUSTERS'
  );
}

/** The control plane binds to its bridge's own address; only who listens on all addresses is in its way. */
function ports(): string | undefined {
  const wanted = [6443, 2379, 2380];
  const taken = new Set<number>();
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of readFileSync(file, 'utf8').split('\n').slice(1)) {
      const [, local, , state] = line.trim().split(/\s+/);
      const [address, port] = (local ?? '').split(':');
      if (state === '0A' && address !== undefined && /^0+$/.test(address)) taken.add(Number.parseInt(port ?? '', 16));
    }
  }
  const conflicts = wanted.filter((port) => taken.has(port));
  if (conflicts.length === 0) return undefined;
  return (
    `port ${conflicts.join(', ')} is listened on for all addresses by another program ` +
    '(see `ss -ltnp`): stop it or bind it to one address'
  );
}

async function namespaces(): Promise<string | undefined> {
  try {
    await run('unshare', ['--mount', '--net', '--pid', '--uts', '--ipc', '--cgroup', '--fork', 'true']);
    return undefined;
  } catch {
    return 'namespaces cannot be made (`unshare` is refused): run as root, and in a container with --privileged';
  }
}

function overlay(): string | undefined {
  if (/\boverlay$/m.test(readFileSync('/proc/filesystems', 'utf8'))) return undefined;
  return 'the kernel offers no overlay file system: load it with `modprobe overlay`';
}

function size(bytes: number): string {
  return `${(bytes / gib).toFixed(1)} GiB`;
}
