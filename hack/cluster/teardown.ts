import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { processesWithVariable, run, until } from '../process.ts';
import { cgroupProcesses, removeCgroup, topCgroups } from './cgroups.ts';
import { clustersFolder, heldSlot, processMark, releaseSlot } from './layout.ts';
import { removeNetwork } from './network.ts';

/**
 * Removes whatever there is of a cluster: processes, control groups, namespaces, links and state. Works
 * from names alone, so that a start that was interrupted anywhere, or half a removal, is cleaned up too.
 */
export async function removeCluster(name: string): Promise<void> {
  await killAll('the cluster’s processes', () => processesWithVariable(processMark, name));
  const groups = topCgroups().filter((group) => group.startsWith(`tulle-${name}-node-`));
  await killAll('the nodes’ processes', () => groups.flatMap(cgroupProcesses));
  for (const group of groups) await removeGroup(group);
  const slot = heldSlot(name);
  if (slot !== undefined) await removeNetwork(slot, name);
  const folder = join(clustersFolder, name);
  await unmountBelow(folder);
  if (existsSync(folder)) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  if (slot !== undefined) releaseSlot(slot);
  const slots = join(clustersFolder, '.slots');
  if (existsSync(slots) && readdirSync(slots).length === 0) rmSync(slots, { recursive: true });
}

/** Removes a control group whose processes have ended: the kernel lets go of it a moment after the last one. */
export async function removeGroup(group: string): Promise<void> {
  await until(`control group ${group} is removed`, () => removed(() => removeCgroup(group)), { limitMs: 20_000 });
}

/** Ends the processes `find` gives until it gives none. */
export async function killAll(what: string, find: () => number[]): Promise<void> {
  await until(
    `${what} have ended`,
    () => {
      const pids = find();
      for (const pid of pids) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // ended meanwhile
        }
      }
      return pids.length === 0;
    },
    { limitMs: 30_000, explain: () => `still running: ${find().join(', ')}` },
  );
}

function removed(remove: () => void): boolean {
  try {
    remove();
    return true;
  } catch {
    return false;
  }
}

/** The nodes' mounts are their namespaces' own and go with them; this is for what was mounted on the machine. */
async function unmountBelow(folder: string): Promise<void> {
  const mounts = (await run('cat', ['/proc/self/mounts'])).split('\n').map((line) => line.split(' ')[1] ?? '');
  for (const mount of mounts.filter((path) => path.startsWith(`${folder}/`)).reverse()) {
    await run('umount', ['-l', mount]).catch(() => {});
  }
}
