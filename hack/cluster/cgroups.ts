import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const mountPoint = '/sys/fs/cgroup';
const cgroup2Magic = 0x63677270;

/** Folders of the control-group hierarchies mounted on this machine: one for version 2, several for version 1. */
function hierarchies(): string[] {
  if (statfsSync(mountPoint).type === cgroup2Magic) return [mountPoint];
  return readdirSync(mountPoint, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(mountPoint, entry.name));
}

/** Makes the group in every hierarchy and returns the files into which a process writes its id to join. */
export function createCgroup(name: string): string[] {
  return hierarchies().map((hierarchy) => {
    const folder = join(hierarchy, name);
    mkdirSync(folder, { recursive: true });
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      const parent = join(hierarchy, file);
      // A version 1 cpuset takes no process before it names its processors.
      if (hierarchy.endsWith('/cpuset') && existsSync(parent)) writeFileSync(join(folder, file), readFileSync(parent));
    }
    return join(folder, 'cgroup.procs');
  });
}

/** The ids of all processes in the group and below it. */
export function cgroupProcesses(name: string): number[] {
  const found = new Set<number>();
  for (const hierarchy of hierarchies()) {
    for (const folder of groupsDepthFirst(join(hierarchy, name))) {
      try {
        // A process of a foreign pid namespace is listed as 0, which to kill() is the caller's own group.
        const pids = readFileSync(join(folder, 'cgroup.procs'), 'utf8').split('\n').map(Number);
        for (const pid of pids.filter((pid) => pid > 1)) found.add(pid);
      } catch {
        // gone meanwhile
      }
    }
  }
  return [...found];
}

/** Removes the group and all below it in every hierarchy; they must be empty. */
export function removeCgroup(name: string): void {
  for (const hierarchy of hierarchies()) {
    for (const folder of groupsDepthFirst(join(hierarchy, name))) rmdirSync(folder);
  }
}

/** The names of groups at the top of any hierarchy. */
export function topCgroups(): string[] {
  return [...new Set(hierarchies().flatMap((hierarchy) => readdirSync(hierarchy)))];
}

function groupsDepthFirst(folder: string): string[] {
  if (!existsSync(folder)) return [];
  const below = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [...below.flatMap((entry) => groupsDepthFirst(join(folder, entry.name))), folder];
}
